//! `tidemark dead-letters`: from a letter that is listed to one that is counted.

use crate::rig::{Rig, until};
use crate::{Running, text, tidemark};
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::{Output, Stdio};

fn letters(rig: &Rig, args: &[&str]) -> Output {
    let mut command = tidemark();
    let server = format!("http://{}", rig.address());
    command
        .arg("dead-letters")
        .args(args)
        .args(["--quiet", "--server", &server])
        .output()
        .unwrap()
}

fn said(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn event(key: &str, reverse: bool) -> Vec<u8> {
    let event = json!({
        "user_id": "u1", "event_type": "sale", "amount": "2.50", "occurred_at": "2024-01-15T10:00:00Z",
        "idempotency_key": key, "reverse": reverse,
    });
    event.to_string().into_bytes()
}

fn user(rig: &Rig) -> Value {
    rig.get("/v1/users/u1")["total"].clone()
}

#[test]
fn a_reversal_before_its_original_is_listed_redriven_and_counted_once() {
    let mut rig = Rig::new();
    rig.post_events("application/json", &event("k1", true));
    rig.post_events("application/json", &event("k2", true));
    let listed = said(&letters(&rig, &["list"]), 0);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert_eq!(
        (lines[0][1], lines[0][3], lines[0][4], lines[0][5]),
        ("reversal_unmatched", "open", "0", "u1")
    );
    rig.post_events("application/json", &event("k1", false));
    let dry = said(&letters(&rig, &["redrive", "--all", "--dry-run"]), 0);
    assert_eq!(
        dry,
        "2 letters would be redriven (reversal_unmatched 2); skipped: none"
    );
    assert_eq!(user(&rig), json!({"count": 1, "sum": "2.50"}));
    let done = said(
        &letters(&rig, &["redrive", "--reason", "reversal_unmatched", "--wait"]),
        0,
    );
    assert_eq!(done, "2 letters redriven (reversal_unmatched 2); skipped: none");
    let again = letters(&rig, &["redrive", "--reason", "reversal_unmatched", "--wait"]);
    assert_eq!(
        said(&again, 0),
        "1 letter redriven (reversal_unmatched 1); skipped: redriven 1"
    );
    let open = said(&letters(&rig, &["list", "--state", "open", "--json"]), 0);
    let open: Value = serde_json::from_str(&open).unwrap();
    assert_eq!(
        (&open["tries"], &open["last_redrive"]["by"]),
        (&json!(2), &json!("local"))
    );
    // The other one is mended instead.
    let id = open["id"].as_str().unwrap();
    let shown: Value = serde_json::from_str(&said(&letters(&rig, &["show", id]), 0)).unwrap();
    assert_eq!(
        (&shown["event"]["reverse"], &shown["retention"]),
        (&json!(true), &json!("forever"))
    );
    let mut mended = shown["event"].clone();
    mended["reverse"] = json!(false);
    let path = rig.write("mended.json", mended.to_string());
    let file = path.to_str().unwrap();
    let done = letters(&rig, &["redrive", id, "--event", file, "--wait"]);
    assert_eq!(
        said(&done, 0),
        "1 letter redriven (reversal_unmatched 1); skipped: none"
    );
    until("both letters are redriven", || {
        let listed = said(&letters(&rig, &["list", "--state", "redriven"]), 0);
        (listed.lines().count() == 2).then_some(())
    });
    assert_eq!(user(&rig), json!({"count": 1, "sum": "2.50"}));
    let ledger = rig.get("/v1/ledger");
    assert_eq!(
        (&ledger["accepted"], &ledger["counted"], &ledger["reversed"]),
        (&json!(3), &json!(2), &json!(1))
    );
    rig.audit();
}

#[test]
fn what_is_left_out_and_what_is_wrong_have_exit_codes_of_their_own() {
    let mut rig = Rig::new();
    rig.post_events("application/json", &event("k1", true));
    let id = said(&letters(&rig, &["list", "--json"]), 0);
    let id: Value = serde_json::from_str(&id).unwrap();
    let id = id["id"].as_str().unwrap().to_owned();
    for tries in 1..=5 {
        said(&letters(&rig, &["redrive", &id, "--wait"]), 0);
        until("the try is listed", || {
            let shown = said(&letters(&rig, &["show", &id]), 0);
            let shown: Value = serde_json::from_str(&shown).unwrap();
            (shown["tries"] == tries).then_some(())
        });
    }
    let left_out = letters(&rig, &["redrive", "--all"]);
    assert_eq!(
        said(&left_out, 2),
        "0 letters redriven (none); skipped: quarantined 1"
    );
    let forced = letters(&rig, &["redrive", &id, "--force", "--wait"]);
    assert_eq!(
        said(&forced, 0),
        "1 letter redriven (reversal_unmatched 1); skipped: none"
    );
    said(&letters(&rig, &["redrive", "0-99999"]), 2);
    for wrong in [
        &["redrive"][..],
        &["redrive", "0-1", "--all"],
        &["redrive", "0-1", "--reason", "invalid"],
        &["redrive", "--tenant", "t", "0-1"],
        &["show", "x"],
        &["show", "0-1", "--server", "https://there"],
    ] {
        assert_eq!(letters(&rig, wrong).status.code(), Some(64), "{wrong:?}");
    }
    assert_eq!(
        letters(&rig, &["redrive", &id, "--event", "/nowhere"])
            .status
            .code(),
        Some(66)
    );
    let broken = rig.write("broken.json", "{");
    let args = ["redrive", &id, "--event", broken.to_str().unwrap()];
    assert_eq!(letters(&rig, &args).status.code(), Some(65));
    assert_eq!(letters(&rig, &["list", "--reason", "bad"]).status.code(), Some(4));
    rig.audit();
}

#[test]
fn one_that_is_interrupted_before_its_server_has_answered_ends_with_3() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", silent.local_addr().unwrap());
    let mut command = tidemark();
    command.args(["dead-letters", "list", "--server", &server]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let running = Running(child.unwrap());
    // It calls, so it heeds signals by now.
    let _call = silent.accept().unwrap();
    running.signal("INT");
    assert_eq!(running.end(), Some(3));
}
