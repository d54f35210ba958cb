//! In which form an answer is wanted: `format=` says it, else the header `Accept`, else it is JSON.

use crate::params::{Params, invalid};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, StatusCode};
use service::http::Problem;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// A table with a header row, RFC 4180.
    Csv,
}

impl Format {
    /// All of them; of several that a client likes as much the first is taken.
    const ALL: [Self; 3] = [Self::Json, Self::Ndjson, Self::Csv];

    /// Reads `format`, or the header.
    ///
    /// Errors: 400 `parameter_invalid`; 406 `not_acceptable`.
    pub(crate) fn read(params: &Params, headers: &HeaderMap) -> Result<Self, Problem> {
        if let Some(word) = params.one("format")? {
            let format = Self::ALL.into_iter().find(|format| format.word() == word);
            return format.ok_or_else(|| {
                let words = Self::ALL.map(Self::word).join(", ");
                invalid("format", &format!("must be one of {words}"))
            });
        }
        let mut lists = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .peekable();
        if lists.peek().is_none() {
            return Ok(Self::Json);
        }
        let ranges: Vec<Range<'_>> = lists.flat_map(|list| list.split(',')).filter_map(range).collect();
        let liked = Self::ALL
            .into_iter()
            .rev()
            .max_by_key(|format| format.liking(&ranges));
        liked.filter(|format| format.liking(&ranges) > 0).ok_or_else(|| {
            let types = Self::ALL.map(Self::media_type).join(", ");
            Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                "not_acceptable",
                "No such form of the answer",
            )
            .detail(format!("Accept must allow one of {types}"))
        })
    }

    /// Whether it is streamed, whole, instead of answered in one document or in pages.
    pub(crate) fn is_export(self) -> bool {
        self != Self::Json
    }

    /// Its word in queries, and the ending of a file's name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
        }
    }

    /// What it is called in `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json | Self::Ndjson => self.media_type(),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
        }
    }

    /// Thousandths of the quality that the most exact range gives it: RFC 9110, 12.5.1.
    fn liking(self, ranges: &[Range<'_>]) -> u16 {
        let (kind, _) = self.media_type().split_once('/').unwrap_or_default();
        let exactness = |range: &Range<'_>| match range.media {
            media if media.eq_ignore_ascii_case(self.media_type()) => Some(2),
            media => match media.split_once('/')? {
                (other, "*") if other.eq_ignore_ascii_case(kind) => Some(1),
                ("*", "*") => Some(0),
                _ => None,
            },
        };
        let fitting = ranges
            .iter()
            .filter_map(|range| Some((exactness(range)?, range.thousandths)));
        fitting.max().map_or(0, |(_, thousandths)| thousandths)
    }
}

/// A media range of `Accept`.
struct Range<'a> {
    media: &'a str,
    thousandths: u16,
}

/// Reads a media range; none where it cannot be understood.
fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().filter(|media| media.contains('/'))?;
    let quality = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let quality: f32 = quality.map_or(Some(1.0), |text| text.parse().ok())?;
    // Within 0 to 1000 by the clamp; what is no number becomes 0.
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0) as u16;
    Some(Range { media, thousandths })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::extract::Query;

    fn read(query: &str, accept: &[&str]) -> Result<Format, u16> {
        let uri = format!("/?{query}").parse().unwrap();
        let params = Params::of(Query::try_from_uri(&uri), &["format"]).unwrap();
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, value.parse().unwrap());
        }
        Format::read(&params, &headers).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn the_most_liked_form_is_taken_and_the_parameter_beats_the_header() {
        for (accept, format) in [
            (&[][..], Ok(Format::Json)),
            (&["*/*"], Ok(Format::Json)),
            (&["text/csv"], Ok(Format::Csv)),
            (&["TEXT/CSV; charset=utf-8"], Ok(Format::Csv)),
            (&["text/*"], Ok(Format::Csv)),
            (
                &["application/x-ndjson, application/json;q=0.9"],
                Ok(Format::Ndjson),
            ),
            (&["application/*"], Ok(Format::Json)),
            (&["text/csv;q=0.5", "application/json;q=0.4"], Ok(Format::Csv)),
            (&["text/csv;q=0, */*"], Ok(Format::Json)),
            (&["application/json;q=0, application/*;q=0.1"], Ok(Format::Ndjson)),
            // What a browser sends.
            (&["text/html,application/xml;q=0.9,*/*;q=0.8"], Ok(Format::Json)),
            (&["image/png"], Err(406)),
            (&["*/*;q=0"], Err(406)),
            (&["csv"], Err(406)),
            (&["text/csv;q=much"], Err(406)),
        ] {
            assert_eq!(read("", accept), format, "{accept:?}");
            assert_eq!(read("format=csv", accept), Ok(Format::Csv), "{accept:?}");
        }
        assert_eq!(read("format=ndjson", &[]), Ok(Format::Ndjson));
        assert_eq!(read("format=CSV", &[]), Err(400));
        assert_eq!(read("format=", &["text/csv"]), Err(400));
    }
}
