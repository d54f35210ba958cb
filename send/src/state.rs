//! The state file: how far a file was sent, as acknowledged by the server.
//!
//! It is replaced as a whole, and only after the server has said that the rows are durable and the refused ones are in the
//! side file. So it may say too little, after a power loss or a kill, but never too much; what it does not know of is sent
//! again. Without it all is sent again from the start. Either way nothing counts twice.

use crate::args::Format;
use crate::identity::{Look, Whole};
use crate::side::Mark;
use crate::slice::Place;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Most bytes of a state file; one has some hundreds.
const STATE_BYTES: u64 = 1024 * 1024;

/// What is added to the name of the input.
pub(crate) const SUFFIX: &str = ".send-state";
/// The version of the layout.
const LAYOUT: u32 = 1;

/// What is remembered of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    layout: u32,
    /// Where it was sent.
    pub(crate) server: String,
    /// What it was read as.
    pub(crate) format: Format,
    /// How its columns were renamed.
    pub(crate) map: Vec<(String, String)>,
    /// What it looked like.
    pub(crate) look: Look,
    /// What it held.
    pub(crate) whole: Whole,
    /// What keys are made of: the digest that the file had when its first row was sent. Other than `whole` if it has grown.
    pub(crate) identity: String,
    /// Bytes that a slice held; keys do not depend on it.
    pub(crate) slice_bytes: u64,
    /// Up to here each row is accepted or in the side file.
    pub(crate) place: Place,
    /// All of it was sent.
    pub(crate) done: bool,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// What of the side file belongs to `place`.
    pub(crate) side: Mark,
    /// Where the accepted rows are.
    pub(crate) receipt: Option<String>,
}

impl State {
    /// A state of a file of which nothing was sent.
    pub(crate) fn new(
        server: &str,
        format: Format,
        map: &[(String, String)],
        look: Look,
        whole: Whole,
    ) -> Self {
        Self {
            layout: LAYOUT,
            server: server.to_owned(),
            format,
            map: map.to_vec(),
            look,
            identity: whole.digest.clone(),
            whole,
            slice_bytes: 0,
            place: Place::default(),
            done: false,
            accepted: 0,
            refused: 0,
            side: Mark::default(),
            receipt: None,
        }
    }

    /// Reads a state file; `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or is none of ours: [`io::ErrorKind::InvalidData`].
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        // What is longer is cut and so no state: a path such as /dev/full would never end.
        file.take(STATE_BYTES).read_to_end(&mut bytes)?;
        let state: Self = serde_json::from_slice(&bytes)?;
        match state.layout {
            LAYOUT => Ok(Some(state)),
            other => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("its layout is {other}"),
            )),
        }
    }

    /// Replaces the state file.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        drop(file);
        std::fs::rename(&new, path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_as_it_was_written_and_anything_else_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.csv.send-state");
        assert_eq!(State::read(&path).unwrap(), None);
        let map = [("a".to_owned(), "b".to_owned())];
        let state = State::new(
            "http://there/",
            Format::Csv,
            &map,
            Look::default(),
            Whole::default(),
        );
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(state));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        for other in ["", "{}", "nonsense"] {
            std::fs::write(&path, other).unwrap();
            assert!(State::read(&path).is_err(), "{other}");
        }
    }
}
