//! Tests of all formats as [`Rows`] sees them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use proptest::prelude::*;

/// What a row was found to hold: its number, and its text, its cells or what is wrong.
type Found = (u64, Result<Vec<String>, &'static str>);

/// All rows of a body that comes in `pieces`, and what broke it.
fn rows_of(format: Option<Format>, limit: usize, pieces: &[&[u8]]) -> (Vec<Found>, Option<Broken>) {
    let mut rows = Rows::new(format, limit);
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    for at in 0..=pieces.len() {
        let last = at == pieces.len();
        buffer.extend_from_slice(pieces.get(at).copied().unwrap_or_default());
        loop {
            let (consumed, go_on) = match rows.next(&buffer, last) {
                Ok(Step::Row(cut)) => {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    let content = match &cut.content {
                        Content::Text(range) => Ok(vec![text(&buffer[range.clone()])]),
                        Content::Cells(range) => Ok(rows.cells(&buffer[range.clone()]).map(text).collect()),
                        Content::TooLong => Err("too long"),
                        Content::Malformed(what) => Err(*what),
                    };
                    found.push((cut.number, content));
                    (cut.consumed, true)
                }
                Ok(Step::Skip { consumed }) => (consumed, true),
                Ok(Step::More { consumed }) => (consumed, false),
                Err(broken) => return (found, Some(broken)),
            };
            buffer.drain(..consumed);
            assert!(go_on || buffer.len() <= limit, "no more is kept than the limit");
            if !go_on {
                break;
            }
        }
    }
    (found, None)
}

fn whole(format: Format, body: &str) -> (Vec<Found>, Option<Broken>) {
    rows_of(Some(format), 1000, &[body.as_bytes()])
}

fn cells(body: &str) -> Vec<Vec<String>> {
    let (rows, broken) = whole(Format::Csv, body);
    assert_eq!(broken, None);
    rows.into_iter().map(|(_, content)| content.unwrap()).collect()
}

#[test]
fn a_record_is_cut_at_its_own_commas_only() {
    for (line, expected) in [
        ("a,b,c", vec!["a", "b", "c"]),
        ("a,,", vec!["a", "", ""]),
        (",", vec!["", ""]),
        (r#""a,b","c""d","""""#, vec!["a,b", "c\"d", "\""]),
        ("\"a\nb\",c", vec!["a\nb", "c"]),
        (r#"u,{"page":"home"},x"#, vec!["u", r#"{"page":"home"}"#, "x"]),
        (
            r#"u,{"a":1,"b":[2,3],"c":"}, {"},x"#,
            vec!["u", r#"{"a":1,"b":[2,3],"c":"}, {"}"#, "x"],
        ),
        (r#"["a","b"],x"#, vec![r#"["a","b"]"#, "x"]),
        (r#""{""page"":""home,x""}",x"#, vec![r#"{"page":"home,x"}"#, "x"]),
        // No JSON after all.
        ("{,a},b", vec!["{,a}", "b"]),
        ("{a,b", vec!["{a", "b"]),
        ("{a,b}c,{d,e}", vec!["{a,b}c", "{d,e}"]),
        ("{a,\"b,c\",d", vec!["{a", "b,c", "d"]),
        ("a\"b\",c", vec!["a\"b\"", "c"]),
        (" \"a\",c", vec![" \"a\"", "c"]),
    ] {
        for end in ["", "\n", "\r\n", "\n\n \r\n"] {
            assert_eq!(
                cells(&format!("{line}{end}")),
                [expected.as_slice()],
                "{line:?} {end:?}"
            );
            let two = format!("{line}{}x,y", if end.is_empty() { "\n" } else { end });
            assert_eq!(cells(&two)[1], ["x", "y"], "{two:?}");
        }
    }
}

#[test]
fn a_record_with_broken_quotes_is_refused_and_the_next_one_is_not() {
    let (rows, _) = whole(Format::Csv, "h\n\"a\"b\nc\n\"d\"\r\n\"e\"\r");
    let found = |n: usize| (rows[n].0, rows[n].1.clone());
    assert_eq!(rows[1].0, 2);
    assert!(rows[1].1.as_ref().unwrap_err().contains("closing quote"));
    assert_eq!(found(2), (3, Ok(vec!["c".to_owned()])));
    assert_eq!(found(3), (4, Ok(vec!["d".to_owned()])));
    assert_eq!(found(4), (5, Ok(vec!["e".to_owned()])));
    let (rows, broken) = whole(Format::Csv, "h\nx\n\"a\nb\n");
    assert!(rows[2].1.as_ref().unwrap_err().contains("not closed"));
    assert_eq!((rows.len(), broken), (3, None));
}

#[test]
fn blank_lines_are_no_rows_but_count_in_ndjson() {
    let numbers = |format, body| whole(format, body).0.iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(numbers(Format::Lines, "\n{}\r\n \n{}"), [2, 4]);
    assert_eq!(numbers(Format::Csv, "\nh\n\r\nx\n \ny"), [1, 2, 3]);
    assert_eq!(numbers(Format::Json, "[{},\n\n{} ]\n"), [1, 2]);
}

#[test]
fn a_document_is_an_array_or_one_object() {
    let (rows, broken) = whole(
        Format::Json,
        "\u{feff} [ {\"a\":[1,{}]} , 5,\"x\\\",y\" ,null, [2]]  ",
    );
    let texts: Vec<_> = rows.into_iter().map(|(_, text)| text.unwrap().concat()).collect();
    assert_eq!(texts, ["{\"a\":[1,{}]}", "5", "\"x\\\",y\"", "null", "[2]"]);
    assert_eq!(broken, None);
    assert_eq!(whole(Format::Json, "[]"), (vec![], None));
    let mut rows = Rows::new(Some(Format::Json), 100);
    assert!(matches!(rows.next(b"{}", true), Ok(Step::Row(_))) && rows.is_single());
}

#[test]
fn a_broken_document_ends_the_body() {
    for (body, rows, code) in [
        ("", 0, "body_empty"),
        ("  \n", 0, "body_empty"),
        ("nonsense", 0, "json_invalid"),
        ("5", 0, "json_invalid"),
        ("[", 0, "json_invalid"),
        ("[{},", 1, "json_invalid"),
        ("[{}", 1, "json_invalid"),
        ("[{},]", 1, "json_invalid"),
        ("[,{}]", 0, "json_invalid"),
        ("[{} {}]", 1, "json_invalid"),
        ("[{}]]", 1, "json_invalid"),
        ("{\"a\":", 0, "json_invalid"),
        ("{}\n{}", 1, "json_invalid"),
        ("[\"abc", 0, "json_invalid"),
    ] {
        let (found, broken) = whole(Format::Json, body);
        assert_eq!(
            (found.len(), broken.map(|broken| broken.code)),
            (rows, Some(code)),
            "{body:?}"
        );
    }
}

#[test]
fn a_body_of_no_known_type_is_told_by_its_first_byte() {
    let first = |body: &str| {
        let (mut rows, body) = (Rows::new(None, 100), body.as_bytes().to_vec());
        let mut at = 0;
        while let Ok(Step::Skip { consumed }) = rows.next(&body[at..], true) {
            at += consumed;
        }
        match rows.cutter {
            Cutter::Json(_) => Some(Format::Json),
            Cutter::Csv(_) => Some(Format::Csv),
            _ => None,
        }
    };
    assert_eq!(first("\u{feff}\n {}"), Some(Format::Json));
    assert_eq!(first("[]"), Some(Format::Json));
    assert_eq!(first("a,b\n"), Some(Format::Csv));
    assert_eq!(rows_of(None, 100, &[b" "]).1, Some(Broken::empty()));
}

#[test]
fn a_row_over_the_limit_is_one_refused_row() {
    let long = "x".repeat(50);
    for (format, body, numbers) in [
        (Format::Lines, format!("a\n{long}\nb\n{long}"), [1, 2, 3, 4]),
        (
            Format::Csv,
            format!("a\n\"{long}\n\"\"\n\",b\nc,{{\n{{\"{long}\n"),
            [1, 2, 3, 4],
        ),
        (
            Format::Json,
            format!("[1,{{\"a\":\"{long}]\"}},\"{long}\",{long}]"),
            [1, 2, 3, 4],
        ),
    ] {
        let (rows, broken) = rows_of(Some(format), 20, &[body.as_bytes()]);
        assert_eq!(
            (rows.iter().map(|row| row.0).collect::<Vec<_>>(), broken),
            (numbers.to_vec(), None)
        );
        assert_eq!(rows[1].1, Err("too long"), "{body}");
        assert_eq!(rows[3].1, Err("too long"), "{body}");
        assert!(rows[0].1.is_ok());
    }
}

#[test]
fn a_record_whose_bracket_stays_open_ends_with_its_line_whether_kept_or_dropped() {
    let body = "]x,{,\"\na";
    let pieces: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    for limit in [3, 5, 100] {
        let (whole, _) = rows_of(Some(Format::Csv), limit, &[body.as_bytes()]);
        assert_eq!(whole[1], (2, Ok(vec!["a".to_owned()])));
        assert_eq!(rows_of(Some(Format::Csv), limit, &pieces).0, whole);
    }
}

#[test]
fn a_row_of_half_open_brackets_is_looked_at_twice_and_no_more() {
    let body = "{,".repeat(500_000);
    let start = std::time::Instant::now();
    let (rows, _) = rows_of(Some(Format::Csv), 2_000_000, &[body.as_bytes()]);
    assert_eq!(rows.len(), 1);
    // A look back for each cell would be 10^11 steps.
    assert!(start.elapsed() < std::time::Duration::from_secs(20));
}

proptest! {
    #[test]
    fn any_split_gives_the_same_rows(
        format in prop_oneof![Just(None), Just(Some(Format::Json)), Just(Some(Format::Lines)), Just(Some(Format::Csv))],
        tokens in proptest::collection::vec(prop_oneof![
            Just("{"), Just("}"), Just("["), Just("]"), Just("\""), Just("\\"), Just(","), Just("\n"), Just("\r"),
            Just("\r\n"), Just(" "), Just("a"), Just("\u{e9}"), Just("{\"a\":1}"), Just("\u{feff}"), Just(":"),
            Just("\"x\""), Just(",\n"), Just("{\"a\":\"b,c\"},"), Just("some longer text")
        ], 0..40),
        cuts in proptest::collection::vec(0_usize..200, 0..6),
        limit in 5_usize..60,
        bracket in any::<bool>(),
    ) {
        let mut body = tokens.concat();
        if bracket {
            body = format!("[{body}]");
        }
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &body.as_bytes()[pair[0]..pair[1]]).collect();
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        let expected = rows_of(format, limit, &[body.as_bytes()]);
        prop_assert_eq!(&rows_of(format, limit, &pieces), &expected);
        prop_assert_eq!(&rows_of(format, limit, &bytes), &expected);
    }
}
