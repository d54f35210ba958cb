//! What the head of an upload says: the query string, and what the body is made of. As in [`crate::head`], what is not understood is
//! refused before anything is recorded.

use crate::body::Encoding;
use crate::head::{self, invalid};
use crate::multipart::{self, Form, Part};
use crate::rows::Format;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use schemas::input::Renames;
use schemas::limits::KEY_BYTES;
use service::http::Problem;

/// Longest name of an upload, in bytes.
const NAME_BYTES: usize = 512;

/// What an upload is asked to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Its rows wait to be released.
    pub(crate) hold: bool,
    /// Its rows count only if all are valid.
    pub(crate) atomic: bool,
    /// Other names of columns and fields.
    pub(crate) renames: Renames,
    /// Each row is an event of its own, by the file's digest and its number.
    pub(crate) by_row: bool,
    /// What keys of rows are made of: the digest, or the header `Idempotency-Key`.
    pub(crate) key: Option<String>,
    /// Its rows are lines `{userId, name, value}` of an older service.
    pub(crate) lines_a: bool,
    /// Its name.
    pub(crate) name: Option<String>,
    /// Bytes of the body as sent, where that is announced.
    pub(crate) length: Option<u64>,
    /// Of a form.
    boundary: Option<String>,
    format: Option<Format>,
    encoding: Encoding,
}

/// The file of an upload.
pub(crate) struct File {
    pub(crate) body: Body,
    pub(crate) format: Option<Format>,
    pub(crate) encoding: Encoding,
    pub(crate) name: Option<String>,
}

impl Asked {
    /// Reads the head, or says what to answer.
    pub(crate) fn read(parts: &Parts) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let mut asked = Self::parameters(parts)?;
        asked.key = match (asked.key, head::idempotency_key(headers)?) {
            (Some(_), Some(_)) => {
                return Err(invalid("key", "must not stand beside the header Idempotency-Key"));
            }
            (digest, header) => digest.or(header),
        };
        asked.length = head::length(headers)?;
        asked.encoding = head::encoding(headers)?;
        let content_type = head::text(headers, header::CONTENT_TYPE.as_str())?;
        asked.boundary = content_type.map_or(Ok(None), multipart::boundary)?;
        match asked.boundary {
            None if asked.lines_a => check_lines(content_type)?,
            None => asked.format = head::format(headers)?,
            Some(_) if asked.encoding != Encoding::Identity => {
                let title = "The Content-Encoding is not supported";
                let problem = Problem::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "encoding_not_supported",
                    title,
                );
                return Err(problem.detail("compress the file in the form, not the form"));
            }
            Some(_) => {}
        }
        asked.name = asked.name.or_else(|| name_in(headers));
        Ok(asked)
    }

    /// Whether the body is a form.
    pub(crate) fn is_form(&self) -> bool {
        self.boundary.is_some()
    }

    fn parameters(parts: &Parts) -> Result<Self, Problem> {
        let mut asked = Self::default();
        let mut key = None;
        for (name, value) in head::parameters(
            &parts.uri,
            &["hold", "atomic", "map", "key", "file", "name", "format"],
        )? {
            match name.as_str() {
                "hold" => asked.hold = head::flag(name, &value)?,
                "atomic" => asked.atomic = head::flag(name, &value)?,
                "map" => asked.renames = Renames::parse(&value).map_err(|what| invalid(name, &what))?,
                "format" if value == "lines-a" => asked.lines_a = true,
                "format" => {
                    return Err(invalid(
                        name,
                        "must be `lines-a`; any other format is said by the Content-Type",
                    ));
                }
                "key" if value == "row" => asked.by_row = true,
                "key" => return Err(invalid(name, "must be `row`")),
                "file" => key = Some(digest(name, value)?),
                _ => asked.name = Some(named(name, value)?),
            }
        }
        match (asked.by_row, &key) {
            (true, None) => return Err(invalid("file", "must be the digest of the file where key=row")),
            (false, Some(_)) => return Err(invalid("file", "needs key=row beside it")),
            _ => {}
        }
        if asked.lines_a && !asked.renames.is_empty() {
            return Err(invalid("map", "must not stand beside format=lines-a"));
        }
        asked.key = key;
        Ok(asked)
    }

    /// How the rows are cut, where the query string says so.
    fn lines_format(&self) -> Option<Format> {
        self.lines_a.then_some(Format::Lines)
    }

    /// The file: the body itself, or that of the form's part.
    ///
    /// # Errors
    /// Those of a form.
    pub(crate) async fn file(&self, body: Body) -> Result<File, Problem> {
        let Some(boundary) = &self.boundary else {
            return Ok(File {
                body,
                format: self.format.or(self.lines_format()),
                encoding: self.encoding,
                name: self.name.clone(),
            });
        };
        let mut form = Form::new(body, boundary);
        let part = form.find_file().await.map_err(|fault| fault.problem())?;
        Ok(File {
            format: self.lines_format().or_else(|| format_of(&part)),
            encoding: encoding_of(&part)?,
            name: self
                .name
                .clone()
                .or_else(|| part.file_name.as_deref().and_then(trimmed)),
            body: form.into_body(),
        })
    }
}

/// Refuses a body that is said to be something else than lines.
fn check_lines(content_type: Option<&str>) -> Result<(), Problem> {
    let Some(content_type) = content_type else {
        return Ok(());
    };
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_any = ["text/plain", "application/octet-stream"];
    let is_any = is_any.iter().any(|any| media_type.eq_ignore_ascii_case(any));
    if !is_any && head::known_format(content_type) != Some(Format::Lines) {
        let title = "The media type is not supported";
        let problem = Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "media_type_not_supported",
            title,
        );
        return Err(problem
            .detail("format=lines-a is one JSON object a line: send application/x-ndjson or text/plain"));
    }
    head::check_charset(content_type)
}

fn digest(name: String, value: String) -> Result<String, Problem> {
    let fits = (1..=KEY_BYTES).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    match fits {
        true => Ok(value),
        false => Err(invalid(
            name,
            &format!("must have 1 to {KEY_BYTES} visible ASCII characters"),
        )),
    }
}

fn named(name: String, value: String) -> Result<String, Problem> {
    let fits = (1..=NAME_BYTES).contains(&value.len()) && !value.contains(char::is_control);
    match fits {
        true => Ok(value),
        false => Err(invalid(
            name,
            &format!("must have 1 to {NAME_BYTES} bytes and no control characters"),
        )),
    }
}

/// The name in the header `Content-Disposition`.
fn name_in(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
    trimmed(&multipart::parameter(value, "filename")?)
}

/// The name of a file as others may see it: without folders, without control characters and not too long.
fn trimmed(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
    let name = name.get(..name.floor_char_boundary(NAME_BYTES))?.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// What a part is made of: by its type, else by the ending of its name; browsers know few types.
fn format_of(part: &Part) -> Option<Format> {
    let by_type = part.content_type.as_deref().and_then(head::known_format);
    by_type.or_else(|| {
        let name = part.file_name.as_deref()?.to_ascii_lowercase();
        let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
        match name.rsplit_once('.')?.1 {
            "csv" => Some(Format::Csv),
            "ndjson" | "jsonl" => Some(Format::Lines),
            "json" => Some(Format::Json),
            _ => None,
        }
    })
}

/// How a part is compressed: by its head, else by the ending of its name.
fn encoding_of(part: &Part) -> Result<Encoding, Problem> {
    if let Some(word) = &part.content_encoding {
        return head::known_encoding(word);
    }
    let name = part.file_name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let kind = part
        .content_type
        .as_deref()
        .unwrap_or_default()
        .to_ascii_lowercase();
    Ok(match kind.split(';').next().unwrap_or_default().trim() {
        "application/gzip" | "application/x-gzip" => Encoding::Gzip,
        "application/zstd" => Encoding::Zstd,
        _ if name.ends_with(".gz") => Encoding::Gzip,
        _ if name.ends_with(".zst") => Encoding::Zstd,
        _ => Encoding::Identity,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn asked(uri: &str, headers: &[(&'static str, &str)]) -> Result<Asked, (u16, &'static str)> {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Asked::read(&parts).map_err(|problem| (problem.status().as_u16(), problem.code()))
    }

    #[test]
    fn a_head_says_what_the_upload_is_to_be() {
        let read = asked(
            "/?hold=true&map=a:user_id&key=row&file=d1&name=n",
            &[("content-type", "text/csv")],
        )
        .unwrap();
        assert!(read.hold && read.by_row && !read.atomic);
        assert_eq!(
            (read.key.as_deref(), read.name.as_deref()),
            (Some("d1"), Some("n"))
        );
        assert_eq!(read.renames.ours(b"a"), Some("user_id"));
        let named = asked(
            "/",
            &[("content-disposition", "attachment; filename=\"C:\\x\\a.csv\"")],
        )
        .unwrap();
        assert_eq!(named.name.as_deref(), Some("a.csv"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let long = format!("/?name={}", "n".repeat(NAME_BYTES + 1));
        for (uri, headers, expected) in [
            ("/?hold=1", vec![], (400, "query_invalid")),
            ("/?hold=true&hold=true", vec![], (400, "query_invalid")),
            ("/?validate=true", vec![], (400, "query_invalid")),
            ("/?map=a", vec![], (400, "query_invalid")),
            ("/?key=row", vec![], (400, "query_invalid")),
            ("/?key=column&file=d", vec![], (400, "query_invalid")),
            ("/?file=d", vec![], (400, "query_invalid")),
            ("/?key=row&file=", vec![], (400, "query_invalid")),
            (
                "/?key=row&file=d",
                vec![("idempotency-key", "k")],
                (400, "query_invalid"),
            ),
            ("/?format=csv", vec![], (400, "query_invalid")),
            ("/?format=lines-a&map=a:user_id", vec![], (400, "query_invalid")),
            (
                "/?format=lines-a",
                vec![("content-type", "text/csv")],
                (415, "media_type_not_supported"),
            ),
            (
                "/?format=lines-a",
                vec![("content-type", "text/plain; charset=latin1")],
                (415, "charset_not_supported"),
            ),
            ("/?name=", vec![], (400, "query_invalid")),
            ("/?name=a%00b", vec![], (400, "query_invalid")),
            (long.as_str(), vec![], (400, "query_invalid")),
            (
                "/",
                vec![("content-type", "application/xml")],
                (415, "media_type_not_supported"),
            ),
            (
                "/",
                vec![("content-type", "multipart/form-data")],
                (400, "multipart_invalid"),
            ),
            (
                "/",
                vec![
                    ("content-type", "multipart/form-data; boundary=b"),
                    ("content-encoding", "gzip"),
                ],
                (415, "encoding_not_supported"),
            ),
        ] {
            assert_eq!(asked(uri, &headers), Err(expected), "{uri} {headers:?}");
        }
    }

    #[test]
    fn a_part_is_what_its_head_says_or_else_its_name() {
        let part = |kind: Option<&str>, name: &str| Part {
            content_type: kind.map(str::to_owned),
            file_name: Some(name.to_owned()),
            ..Part::default()
        };
        for (part, format, encoding) in [
            (part(Some("text/csv"), "a"), Some(Format::Csv), Encoding::Identity),
            (
                part(Some("application/octet-stream"), "a.JSONL.gz"),
                Some(Format::Lines),
                Encoding::Gzip,
            ),
            (
                part(Some("application/vnd.ms-excel"), "a.csv"),
                Some(Format::Csv),
                Encoding::Identity,
            ),
            (
                part(Some("application/zstd"), "a.json"),
                Some(Format::Json),
                Encoding::Zstd,
            ),
            (part(None, "a"), None, Encoding::Identity),
        ] {
            assert_eq!(
                (format_of(&part), encoding_of(&part).unwrap()),
                (format, encoding),
                "{part:?}"
            );
        }
    }
}
