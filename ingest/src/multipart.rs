//! The file of a form (`multipart/form-data`, RFC 7578), as a body that is read a piece at a time.
//!
//! A form has one part called `file`; fields beside it are skipped, up to a bound. What is kept at one time is one piece of the
//! body and the head of one part, whatever the form holds.

use axum::body::{Body, Bytes};
use bytes::{Buf, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use memchr::memmem;
use service::http::Problem;

/// Longest head of a part.
const HEAD_BYTES: usize = 16 * 1024;
/// All that may stand beside the file: what is before the first part, other fields, and what is behind the last.
const BESIDE_BYTES: usize = 256 * 1024;
/// Longest boundary: RFC 2046, 5.1.1.
const BOUNDARY_BYTES: usize = 70;
/// What the file's part is called.
const FILE: &str = "file";

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Its bytes do not come.
    #[error("the form's bytes do not come")]
    Source(#[source] axum::Error),
    /// Its bytes are not a form's. A stable code and what is wrong.
    #[error("{1}")]
    Form(&'static str, &'static str),
}

impl Fault {
    /// Looks for a fault in an error and its sources, as bodies wrap them.
    pub(crate) fn find<'e>(error: &'e (dyn std::error::Error + 'static)) -> Option<&'e Self> {
        let chain = std::iter::successors(Some(error), |error| error.source());
        chain.filter_map(|error| error.downcast_ref()).next()
    }

    /// What to answer.
    pub(crate) fn problem(&self) -> Problem {
        match self {
            Self::Source(error) => Problem::of_body(error),
            Self::Form(code, detail) => {
                Problem::bad_request(code, "The form is not the one expected").detail(*detail)
            }
        }
    }
}

fn fault(detail: &'static str) -> Fault {
    Fault::Form("multipart_invalid", detail)
}

/// What the head of a part says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Part {
    /// Name of the field.
    pub(crate) name: Option<String>,
    /// Name of the file.
    pub(crate) file_name: Option<String>,
    /// Its `Content-Type`.
    pub(crate) content_type: Option<String>,
    /// Its `Content-Encoding`.
    pub(crate) content_encoding: Option<String>,
}

/// A form that is being read.
pub(crate) struct Form {
    source: BoxStream<'static, Result<Bytes, axum::Error>>,
    buffer: BytesMut,
    /// What ends a part: a line break, two hyphens and the boundary.
    delimiter: Vec<u8>,
    /// Bytes that may still stand beside the file.
    beside_left: usize,
}

impl Form {
    pub(crate) fn new(body: Body, boundary: &str) -> Self {
        Self {
            source: body.into_data_stream().boxed(),
            // The first boundary has no line break before it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            beside_left: BESIDE_BYTES,
        }
    }

    /// Reads up to the first byte of the file.
    ///
    /// # Errors
    /// If there is none, or it is not called `file`.
    pub(crate) async fn find_file(&mut self) -> Result<Part, Fault> {
        self.skip().await?;
        while let Some(part) = self.head().await? {
            match (part.name.as_deref(), &part.file_name) {
                (Some(FILE), _) => return Ok(part),
                (_, Some(_)) => {
                    return Err(Fault::Form(
                        "file_missing",
                        "the field of the file must be called `file`",
                    ));
                }
                (_, None) => self.skip().await?,
            }
        }
        Err(Fault::Form("file_missing", "the form has no field called `file`"))
    }

    /// The bytes of the file whose head was read. The form's end is looked at behind them: a form that is cut short is a fault, and so is
    /// a second file.
    pub(crate) fn into_body(self) -> Body {
        let pieces = stream::try_unfold(Some(self), |form| async move {
            let Some(mut form) = form else {
                return Ok(None);
            };
            match form.piece().await? {
                Some(piece) => Ok(Some((piece, Some(form)))),
                None => form.end().await.map(|()| None),
            }
        });
        Body::from_stream(pieces)
    }

    /// Some of the part's bytes; none at its end, when its delimiter is done with.
    async fn piece(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, &self.delimiter) {
                if at > 0 {
                    return Ok(Some(self.buffer.split_to(at).freeze()));
                }
                self.buffer.advance(self.delimiter.len());
                return Ok(None);
            }
            // The last bytes may be the beginning of the delimiter.
            let sure = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if sure > 0 {
                return Ok(Some(self.buffer.split_to(sure).freeze()));
            }
            self.fill().await?;
        }
    }

    /// Skips the rest of a part.
    async fn skip(&mut self) -> Result<(), Fault> {
        while let Some(piece) = self.piece().await? {
            self.beside(piece.len())?;
        }
        Ok(())
    }

    fn beside(&mut self, bytes: usize) -> Result<(), Fault> {
        let left = self.beside_left.checked_sub(bytes);
        self.beside_left = left.ok_or_else(|| fault("the form holds too much beside its file"))?;
        Ok(())
    }

    /// The head of the part behind a delimiter; none behind the last one.
    async fn head(&mut self) -> Result<Option<Part>, Fault> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            return Ok(None);
        }
        let end = loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > HEAD_BYTES {
                return Err(fault("the head of a part is too long"));
            }
            self.fill().await?;
        };
        self.beside(end)?;
        let head = self.buffer.split_to(end);
        self.buffer.advance(4);
        let text = std::str::from_utf8(&head).map_err(|_| fault("the head of a part is not UTF-8"))?;
        part(text).map(Some)
    }

    /// Reads what is behind the file.
    async fn end(&mut self) -> Result<(), Fault> {
        while let Some(part) = self.head().await? {
            if part.name.as_deref() == Some(FILE) || part.file_name.is_some() {
                return Err(Fault::Form("too_many_files", "a form may hold one file"));
            }
            self.skip().await?;
        }
        while let Some(bytes) = self.source.next().await.transpose().map_err(Fault::Source)? {
            self.beside(bytes.len())?;
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), Fault> {
        match self.source.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(error)) => Err(Fault::Source(error)),
            None => Err(fault("the form ends before its last boundary")),
        }
    }
}

/// The boundary in the value of a `Content-Type`; `None` where that is no form.
///
/// # Errors
/// A form without a boundary that could be one.
pub(crate) fn boundary(content_type: &str) -> Result<Option<String>, Problem> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return Ok(None);
    }
    parameter(content_type, "boundary")
        .filter(|boundary| (1..=BOUNDARY_BYTES).contains(&boundary.len()))
        .map(Some)
        .ok_or_else(|| fault("the Content-Type names no boundary of 1 to 70 characters").problem())
}

fn part(head: &str) -> Result<Part, Fault> {
    let mut part = Part::default();
    // The rest of the delimiter's line comes first.
    let mut lines = head.split("\r\n");
    if !lines
        .next()
        .unwrap_or_default()
        .trim_matches([' ', '\t'])
        .is_empty()
    {
        return Err(fault("there is something behind a boundary on its line"));
    }
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| fault("the head of a part has a line without a colon"))?;
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "content-disposition" => {
                part.name = parameter(value, "name");
                part.file_name = parameter(value, "filename");
            }
            "content-type" => part.content_type = Some(value.to_owned()),
            "content-encoding" => part.content_encoding = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(part)
}

/// A parameter of a header's value, which may be quoted, with `\"` or `%22` for a quote in it.
pub(crate) fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (text, behind) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                let (text, behind) = after.split_at(end);
                (text.trim().to_owned(), behind)
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(text);
        }
        rest = behind.trim_start().strip_prefix(';')?;
    }
}

/// The text up to the closing quote, and what is behind that.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((text.replace("%22", "\""), quoted.get(at + 1..)?)),
            // Old clients write paths of Windows without escapes.
            '\\' if quoted.get(at + 1..)?.starts_with(['"', '\\']) => text.push(letters.next()?.1),
            _ => text.push(letter),
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    async fn read(form: &[u8], piece: usize) -> Result<(Part, Vec<u8>), &'static str> {
        let pieces: Vec<_> = form
            .chunks(piece)
            .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut form = Form::new(Body::from_stream(stream::iter(pieces)), "xyz");
        let part = form.find_file().await.map_err(|fault| fault.problem().code())?;
        let mut bytes = Vec::new();
        let mut body = form.into_body().into_data_stream();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Fault::find(&error).unwrap().problem().code())?;
            bytes.extend_from_slice(&piece);
        }
        Ok((part, bytes))
    }

    const FORM: &[u8] = b"preamble\r\n--xyz\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--xyz \r\n\
        content-disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\";%22c.csv\"\r\nContent-Type: text/csv\r\n\r\n\
        a,b\r\n--xy,\r\n--xz\r\n\r\n--xyz\r\nContent-Disposition: form-data; name=after\r\n\r\nx\r\n--xyz--\r\nepilogue";
    const CONTENT: &[u8] = b"a,b\r\n--xy,\r\n--xz\r\n";

    #[tokio::test]
    async fn any_split_of_a_form_gives_the_same_file() {
        for piece in 1..FORM.len() {
            let (part, bytes) = read(FORM, piece).await.unwrap();
            assert_eq!(bytes, CONTENT, "{piece}");
            assert_eq!(part.file_name.as_deref(), Some("a \"b\";\"c.csv"));
            assert_eq!(part.content_type.as_deref(), Some("text/csv"));
        }
    }

    #[tokio::test]
    async fn a_form_that_is_cut_short_never_looks_whole() {
        let end = FORM.len() - b"--\r\nepilogue".len();
        for cut in 0..=end {
            assert!(read(&FORM[..cut], 7).await.is_err(), "{cut}");
        }
    }

    #[tokio::test]
    async fn a_form_that_is_not_the_one_expected_says_why() {
        let part = |disposition: &str| {
            format!("--xyz\r\nContent-Disposition: form-data; {disposition}\r\n\r\nx\r\n")
        };
        let file = part("name=\"file\"; filename=\"a\"");
        let large = format!("--xyz\r\n\r\n{}\r\n", "x".repeat(BESIDE_BYTES));
        for (form, code) in [
            (format!("{}--xyz--", part("name=\"other\"")), "file_missing"),
            (
                format!("{}--xyz--", part("name=\"csv\"; filename=\"a\"")),
                "file_missing",
            ),
            ("--xyz--".to_owned(), "file_missing"),
            (format!("{file}{file}--xyz--"), "too_many_files"),
            (
                format!("{file}{}--xyz--", part("name=b; filename=b")),
                "too_many_files",
            ),
            (format!("{large}{file}--xyz--"), "multipart_invalid"),
            (format!("{file}{large}--xyz--"), "multipart_invalid"),
            (
                format!("--xyz\r\na: {}", "x".repeat(HEAD_BYTES)),
                "multipart_invalid",
            ),
            ("--xyz\r\nno colon\r\n\r\n".to_owned(), "multipart_invalid"),
            ("--xyzz\r\n\r\n".to_owned(), "multipart_invalid"),
            (String::new(), "multipart_invalid"),
        ] {
            assert_eq!(read(form.as_bytes(), 1000).await.unwrap_err(), code, "{form:.80}");
        }
    }

    #[test]
    fn a_boundary_is_read_as_it_stands_or_quoted() {
        for (value, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Form-Data; charset=utf-8; Boundary=\"a b;c\"",
                Some("a b;c"),
            ),
            ("text/csv; boundary=abc", None),
        ] {
            assert_eq!(boundary(value).unwrap().as_deref(), expected, "{value}");
        }
        for value in [
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/form-data; boundary=\"a",
        ] {
            assert_eq!(
                boundary(value).unwrap_err().code(),
                "multipart_invalid",
                "{value}"
            );
        }
    }
}
