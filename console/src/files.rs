//! The files of the page, as they lie in `web/`. Every file there is listed here; a test holds the two together.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Bytes of a hash that make a tag: enough that two releases never share one.
const TAG_BYTES: usize = 16;

/// A file of the page.
pub(crate) struct File {
    /// What it holds.
    pub(crate) bytes: &'static [u8],
    /// Its entity tag, with its quotes.
    pub(crate) tag: &'static str,
}

/// By name, as in the path behind `/console/`.
static FILES: LazyLock<BTreeMap<&'static str, File>> = LazyLock::new(|| {
    let files = LIST.iter().map(|(name, bytes)| {
        (
            *name,
            File {
                bytes,
                tag: tag(bytes),
            },
        )
    });
    files.collect()
});

/// The tag of bytes, which live as long as the program; so does what is leaked here.
pub(crate) fn tag(bytes: &[u8]) -> &'static str {
    let hash = blake3::hash(bytes);
    let hash = hash.as_bytes().get(..TAG_BYTES).unwrap_or_default();
    Box::leak(format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash)).into_boxed_str())
}

/// The file of a name.
pub(crate) fn find(name: &str) -> Option<&'static File> {
    FILES.get(name)
}

/// Name and content.
pub(crate) static LIST: &[(&str, &[u8])] = &[
    ("index.html", include_bytes!("../web/index.html")),
    ("icon.svg", include_bytes!("../web/icon.svg")),
    ("base.css", include_bytes!("../web/base.css")),
    ("layout.css", include_bytes!("../web/layout.css")),
    ("parts.css", include_bytes!("../web/parts.css")),
    ("theme.js", include_bytes!("../web/theme.js")),
    ("app.js", include_bytes!("../web/app.js")),
    ("api.js", include_bytes!("../web/api.js")),
    ("key.js", include_bytes!("../web/key.js")),
    ("dom.js", include_bytes!("../web/dom.js")),
    ("words.js", include_bytes!("../web/words.js")),
    ("states.js", include_bytes!("../web/states.js")),
    ("tables.js", include_bytes!("../web/tables.js")),
    ("totals.js", include_bytes!("../web/totals.js")),
    ("chart.js", include_bytes!("../web/chart.js")),
    ("range.js", include_bytes!("../web/range.js")),
    ("zones.js", include_bytes!("../web/zones.js")),
    ("stream.js", include_bytes!("../web/stream.js")),
    ("pages/columns.js", include_bytes!("../web/pages/columns.js")),
    ("pages/days.js", include_bytes!("../web/pages/days.js")),
    ("pages/send.js", include_bytes!("../web/pages/send.js")),
    ("pages/sending.js", include_bytes!("../web/pages/sending.js")),
    ("pages/upload.js", include_bytes!("../web/pages/upload.js")),
    ("pages/uploads.js", include_bytes!("../web/pages/uploads.js")),
    ("pages/user.js", include_bytes!("../web/pages/user.js")),
    ("pages/live.js", include_bytes!("../web/pages/live.js")),
    ("pages/keys.js", include_bytes!("../web/pages/keys.js")),
    ("pages/mend.js", include_bytes!("../web/pages/mend.js")),
    ("pages/redrive.js", include_bytes!("../web/pages/redrive.js")),
    ("pages/refused.js", include_bytes!("../web/pages/refused.js")),
    ("pages/rows.js", include_bytes!("../web/pages/rows.js")),
    ("pages/distinct.js", include_bytes!("../web/pages/distinct.js")),
    ("pages/day.js", include_bytes!("../web/pages/day.js")),
    ("pages/events.js", include_bytes!("../web/pages/events.js")),
    ("pages/letters.js", include_bytes!("../web/pages/letters.js")),
    ("pages/letter.js", include_bytes!("../web/pages/letter.js")),
    ("pages/system.js", include_bytes!("../web/pages/system.js")),
    (
        "vendor/uPlot.iife.min.js",
        include_bytes!("../web/vendor/uPlot.iife.min.js"),
    ),
    (
        "vendor/uPlot.min.css",
        include_bytes!("../web/vendor/uPlot.min.css"),
    ),
    (
        "vendor/uPlot.LICENSE.txt",
        include_bytes!("../web/vendor/uPlot.LICENSE.txt"),
    ),
];
