//! What `tidemark send` makes of its files: refused rows, other columns, older lines, patterns, standard input, dry runs, and
//! what it says when it cannot.

use crate::rig::{Rig, until};
use std::fmt::Write as _;

#[test]
fn refused_rows_lie_in_the_side_file_and_count_once_when_mended_and_sent() {
    let mut rig = Rig::new();
    // More than one answer lists, of one slice; each third row has no user, and rows have neither key nor time.
    let mut file = "userId,type,amount,note\n".to_owned();
    for row in 2..=9001 {
        let user = if row % 3 == 0 { "" } else { "u" };
        writeln!(file, "{user},t,1,\"a, {row}\"").unwrap();
    }
    file.push_str("u,t,1,\"not closed\n");
    rig.write("events.csv", &file);
    rig.send(&["events.csv"])
        .ended(2)
        .said("6,000 accepted, 3,001 refused")
        .said("row 3: user_id is missing (missing)");
    let side = rig.read("events.csv.refused.csv");
    let mut lines = side.lines();
    let header = "refused_row,refused_field,refused_code,refused_reason,refused_key,userId,type,amount,note";
    assert_eq!(lines.next(), Some(header));
    for row in (3..=9001).step_by(3) {
        let line = lines.next().unwrap();
        assert!(
            line.starts_with(&format!("{row},user_id,missing,is missing,")),
            "{line}"
        );
        assert!(line.ends_with(&format!(",,t,1,\"a, {row}\"")), "{line}");
    }
    assert!(lines.next().unwrap().starts_with("9002,event,not_csv,"));

    let mended: Vec<String> = side
        .lines()
        .filter(|line| !line.contains("not_csv") && !line.starts_with("closed"))
        .map(|line| line.replace(",,t,1,", ",u,t,1,"))
        .collect();
    rig.write("mended.csv", mended.join("\n"));
    rig.send(&["mended.csv"]).ended(0).said("3,000 accepted");
    // A part of it again, in another order: still the same rows.
    let part = [mended[0].as_str(), &mended[9], &mended[5]].join("\r\n");
    rig.write("part.csv", part);
    rig.send(&["part.csv", "--wait"]).ended(0).said("2 accepted");
    assert_eq!((rig.ledger("counted"), rig.ledger("duplicate")), (9000, 2));
    let user = rig.get("/v1/users/u");
    assert_eq!(user["total"]["count"], 9000);
    rig.audit();
}

#[test]
fn a_side_file_is_mended_row_by_row_and_sent_each_time() {
    let mut rig = Rig::new();
    rig.write("a.csv", "userId,type,amount\nu0,t,1\nu1,t,x1\nu2,t,x2\n");
    rig.send(&["a.csv"]).ended(2).said("1 accepted, 2 refused");
    let side = "a.csv.refused.csv";
    rig.write(side, rig.read(side).replace("x1", "1"));
    rig.send(&[side]).ended(2).said("1 accepted, 1 refused");
    rig.write(side, rig.read(side).replace("x2", "2"));
    rig.send(&[side, "--wait"]).ended(0).said("2 accepted");
    assert_eq!((rig.ledger("counted"), rig.ledger("duplicate")), (3, 1));
    rig.audit();
}

#[test]
fn refused_lines_of_json_can_be_mended_and_sent_too() {
    let rig = Rig::new();
    rig.write(
        "events.jsonl",
        "{\"userId\":\"u\"}\n\nnot \"json\"\n{\"userId\":\"u\",\"type\":\"t\",\"n\":1.50}\n",
    );
    rig.send(&["events.jsonl"]).ended(2);
    let side = rig.read("events.jsonl.refused.ndjson");
    let lines: Vec<serde_json::Value> = side
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&lines[0]["refused_row"], &lines[0]["userId"]),
        (&1.into(), &"u".into())
    );
    assert_eq!(
        (&lines[1]["refused_row"], &lines[1]["refused_line"]),
        (&3.into(), &"not \"json\"".into())
    );
    let mended = side
        .lines()
        .next()
        .unwrap()
        .replace("\"userId\"", "\"type\":\"t\",\"userId\"");
    rig.write("mended.jsonl", &mended);
    rig.send(&["mended.jsonl"]).ended(0);
    rig.write("again.jsonl", format!("\n{mended}\n"));
    rig.send(&["again.jsonl", "--wait"]).ended(0);
    assert_eq!((rig.ledger("counted"), rig.ledger("duplicate")), (2, 1));
}

#[test]
fn columns_of_other_names_are_renamed() {
    let rig = Rig::new();
    let file = "customer,what,when,price\nu1,buy,2025-11-04T12:00:00Z,12.50\nu2,buy,2025-11-04T13:00:00Z,1\n";
    rig.write("shop.csv", file);
    rig.send(&["shop.csv"])
        .ended(65)
        .said("`customer`")
        .said("userId is missing");
    let map = [
        "--map",
        "customer=user_id",
        "--map",
        "what=event_type",
        "--map",
        "when=timestamp",
        "--map",
        "price=amount",
    ];
    rig.send(&[&["shop.csv", "--wait"][..], &map].concat()).ended(0);
    let days = rig.get("/v1/days?from=2025-11-04&to=2025-11-04");
    assert_eq!(
        (&days["days"][0]["count"], &days["days"][0]["sum"]),
        (&2.into(), &"13.50".into())
    );
    rig.send(&["shop.csv", "--fresh", "--map", "who=user_id"])
        .ended(65)
        .said("no column `who`");
    rig.write(
        "shop.ndjson",
        "{\"customer\":\"u3\",\"what\":\"buy\",\"when\":1762257600}\n",
    );
    rig.send(&[&["shop.ndjson", "--wait"][..], &map].concat())
        .ended(0);
    assert_eq!(rig.get("/v1/users/u3")["total"]["count"], 1);
}

#[test]
fn lines_of_the_older_revenue_service_become_its_revenue() {
    let mut rig = Rig::new();
    let mut file = String::new();
    for value in [98, 98, 0] {
        writeln!(
            file,
            r#"{{"userId":"user1","name":"add_revenue","value":{value}}}"#
        )
        .unwrap();
    }
    writeln!(
        file,
        r#"{{"userId":"user1","name":"subtract_revenue","value":6.5}}"#
    )
    .unwrap();
    writeln!(file, r#"{{"userId":"user1","name":"multiply","value":2}}"#).unwrap();
    rig.write("events", &file);
    for _ in 0..2 {
        rig.send(&["events", "--format", "lines-a", "--fresh", "--wait"])
            .ended(2)
            .said("4 accepted, 1 refused");
    }
    let user = rig.get("/v1/users/user1");
    assert_eq!(
        (&user["total"]["count"], &user["total"]["sum"]),
        (&4.into(), &"189.50".into())
    );
    assert!(
        rig.read("events.refused.ndjson")
            .contains("\"refused_code\":\"not_known\"")
    );
    rig.audit();
}

#[test]
fn many_files_patterns_and_standard_input_are_sent() {
    let rig = Rig::new();
    let row = |user: &str| format!("userId,type,time\n{user},t,1762257600\n");
    for name in ["a", "b", "c"] {
        rig.write(&format!("{name}.csv"), row(name));
    }
    rig.send(&["*.csv"])
        .ended(0)
        .said("a.csv: 1 accepted")
        .said("c.csv: 1 accepted");
    rig.send(&["*.csv", "d.csv"]).ended(66).said("d.csv");
    rig.send(&["*.xml"]).ended(66).said("no file matches");
    let input = rig.write("piped", format!("{}no user,,\n", row("d")));
    rig.send_from(&input, &["-", "--wait"])
        .ended(2)
        .said("standard input: 1 accepted, 1 refused");
    assert!(rig.read("stdin.refused.csv").contains("3,event_type,missing"));
    assert_eq!(rig.ledger("counted"), 4);
    assert!(!rig.path("-.send-state").exists());
}

#[test]
fn a_dry_run_says_what_is_wrong_and_changes_nothing() {
    let rig = Rig::new();
    let mut file = "userId,type\n".to_owned();
    for row in 2..=5000 {
        writeln!(file, "{},t", if row % 2 == 0 { "" } else { "u" }).unwrap();
    }
    rig.write("events.csv", &file);
    rig.send(&["events.csv", "--dry-run", "--wait"])
        .ended(2)
        .said("2,499 valid (nothing was recorded), 2,500 refused")
        .said("row 2: user_id is missing");
    let names: Vec<_> = std::fs::read_dir(rig.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 3, "data, server.log and events.csv: {names:?}");
    assert_eq!(rig.ledger("accepted"), 0);
}

#[test]
fn wrong_use_is_said_before_anything_is_sent() {
    let rig = Rig::new();
    rig.write("a.csv", "userId,type\nu,t\n");
    rig.write("broken.csv.gz", b"\x1f\x8bnonsense");
    rig.write("array.json", "[{}]");
    for (args, code, text) in [
        (&["a.csv", "--server", "ftp://there"][..], 64, "https://HOST:PORT"),
        (&["a.csv", "--map", "x"], 64, "THEIRS=OURS"),
        (&["a.csv", "a.csv", "--state", "s"], 64, "one FILE"),
        (&["a.csv", "--rate", "0"], 64, "--rate"),
        (&["a.csv", "--data", "d"], 64, "for servers"),
        (&[], 64, "FILE"),
        (&["missing.csv"], 66, "missing.csv"),
        (&["data"], 66, "folder"),
        (&["broken.csv.gz"], 65, "broken.csv.gz"),
        (&["array.json"], 65, "JSON array"),
        (&["a.csv", "--state", "no/such/folder"], 74, "--state"),
    ] {
        rig.send(args).ended(code).said(text);
    }
    assert_eq!(rig.ledger("accepted"), 0);
}

#[test]
fn nothing_is_written_over_but_files_of_ours() {
    let rig = Rig::new();
    let rows = "userId,type,amount\nu0,t,1\nu1,t,x1\n";
    for name in ["a.csv", "other.csv"] {
        rig.write(name, rows);
    }
    let (same, is_there) = ("are the same file", "is there");
    for (args, why) in [
        (&["a.csv", "--state", "a.csv"][..], same),
        (&["a.csv", "--refused", "a.csv"], same),
        (&["a.csv", "--state", "new", "--refused", "./new"], "same file"),
        (&["a.csv", "--state", "other.csv"], is_there),
        (&["a.csv", "--refused", "other.csv"], is_there),
        (&["a.csv", "--state", "."], "is no file"),
    ] {
        rig.send(args).ended(64).said(why);
        assert_eq!(
            (rig.read("a.csv").as_str(), rig.read("other.csv").as_str()),
            (rows, rows),
            "{args:?}"
        );
    }
    rig.send(&["a.csv"]).ended(2).said("1 accepted, 1 refused");
}

#[test]
fn a_file_that_is_changed_while_it_is_sent_is_told() {
    let rig = Rig::new();
    let rows = |user: &str| {
        let rows = (0..20_000).map(|n| format!("{user},t,1,k{n}\n"));
        format!("userId,type,amount,key\n{}", rows.collect::<String>())
    };
    rig.write("a.csv", rows("u1"));
    let mut sending = rig.sending(&[
        "a.csv",
        "--map",
        "key=idempotency_key",
        "--rate",
        "10000",
        "--slice-bytes",
        "65536",
    ]);
    until("some are sent", || {
        (rig.path("a.csv.send-state").exists()).then_some(())
    });
    rig.write("a.csv", rows("u2"));
    assert_eq!(sending.end(), Some(65), "{}", rig.read("send.log"));
    assert!(rig.read("send.log").contains("was changed while it was sent"));
}

#[test]
fn a_terminal_obeys_no_name_of_a_column() {
    let rig = Rig::new();
    rig.write("a.csv", "a\u{1b}]0;x\u{7},b\n1,2\n");
    rig.send(&["a.csv"]).ended(65).said("a\u{fffd}]0;x");
}
