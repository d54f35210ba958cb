//! Schemathesis makes requests of the document, right and wrong ones, and holds each answer against it. `deploy/schemathesis` says
//! which version, what is checked, and how much of it.

use crate::rig::{Rig, until};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `make schemathesis` puts it; none where it did not, which fails the tests of CI.
fn installed() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("schemathesis/bin/schemathesis");
    if place.is_file() {
        return Some(place);
    }
    let is_ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!is_ci, "schemathesis is not installed: make test installs it");
    eprintln!("not run: schemathesis is not installed; make test installs it");
    None
}

/// Something of everything: counted events, a dead letter, a held upload, one of the older service's, rows that are not valid.
fn seed(rig: &Rig) {
    let events = "user_id,event_type,occurred_at,amount,idempotency_key\nu1,click,2025-11-04T12:00:00Z,1.5,k1\n\
                  u1,click,2025-11-04T13:00:00Z,2,k1\nu2,view,2025-11-04T14:00:00Z,,k2\n";
    rig.post_events("text/csv", events.as_bytes());
    let (status, _) = rig.post(
        "/v1/uploads?hold=true",
        "text/csv",
        "user_id,event_type\nu1,click\n,click\n",
    );
    assert_eq!(status, 201);
    until("the dead letter is there", || {
        let letters = rig.get("/v1/dead-letters");
        letters["dead_letters"]
            .as_array()
            .filter(|letters| !letters.is_empty())
            .map(|_| ())
    });
}

#[test]
fn a_generated_client_gets_no_answer_that_the_document_does_not_hold() {
    let Some(program) = installed() else { return };
    let mut rig = Rig::idle();
    // Nothing waits for longer than a request may take.
    rig.set(&["query.wait_limit_ms=200", "query.live_heartbeat_ms=1000"]);
    rig.start();
    seed(&rig);
    let settings = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/schemathesis/schemathesis.toml"
    );
    let output = Command::new(program)
        .args(["--config-file", settings, "run", "--no-color"])
        .arg(format!("http://{}/openapi.json", rig.address()))
        .current_dir(rig.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // It looked at all operations.
    eprintln!("{}", text.lines().rev().take(12).collect::<Vec<_>>().join("\n"));
    // What it sent is counted as anything else is.
    rig.audit();
}
