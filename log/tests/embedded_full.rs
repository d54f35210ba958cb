//! Disks that run full, and disks that fail.

use crate::embedded_fixture::{append, chunk, open, segments, small, values};
use futures::executor::block_on;
use log::embedded::{EmbeddedLog, Faults, Settings};
use log::{AppendError, CommitError, LogError, PartCommit, Transaction};
use schemas::{Offset, Partition};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

fn commit(partition: u32) -> Transaction {
    let commit = PartCommit {
        partition: Partition(partition),
        next: Offset(1),
        parts: vec![b"part".to_vec()],
    };
    Transaction {
        commits: vec![commit],
        dead_letters: Vec::new(),
    }
}

#[test]
fn a_full_disk_takes_an_append_back_and_later_takes_more() {
    for room in [0, 1, 35, 36, 50, 90] {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(Faults::default());
        let log = EmbeddedLog::open_with_faults(&small(folder.path()), faults.clone()).unwrap();
        append(&log, 0, &["before"]).unwrap();
        let size = segments(folder.path(), 0)[0].metadata().unwrap().len();
        faults.fill_after(room);
        for _ in 0..3 {
            let error = append(&log, 0, &["x".repeat(100)]).unwrap_err();
            assert!(
                matches!(&error, AppendError::Unavailable(why) if why.contains("no storage space")),
                "{error}"
            );
            assert_eq!(
                segments(folder.path(), 0)[0].metadata().unwrap().len(),
                size,
                "taken back"
            );
        }
        let refused = log.lane(0, 1).commit(&commit(0));
        assert!(
            matches!(refused, Err(CommitError::Aborted(_))),
            "the lane may try again"
        );
        assert_eq!(log.failed(), None);
        faults.free();
        assert_eq!(append(&log, 0, &["after"]).unwrap(), Offset(2));
        log.lane(0, 1).commit(&commit(0)).unwrap();
        drop(log);
        assert_eq!(
            values(&open(&small(folder.path())), 0),
            [b"before".to_vec(), b"after".to_vec()]
        );
    }
}

#[test]
fn after_a_failed_fsync_a_partition_takes_nothing_until_the_process_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let log = EmbeddedLog::open_with_faults(&small(folder.path()), faults.clone()).unwrap();
    append(&log, 0, &["before"]).unwrap();
    faults.fail_syncs();
    // The second is asked for when nothing would go wrong any more: nobody may believe that.
    for _ in 0..2 {
        let error = append(&log, 0, &["lost"]).unwrap_err();
        assert!(
            matches!(&error, AppendError::Unavailable(why) if why.contains("started again")),
            "{error}"
        );
    }
    assert!(log.failed().is_some_and(|why| why.contains("fsync failed")));
    assert_eq!(values(&log, 0), [b"before"], "what is durable is still read");
    drop(log);
    let log = open(&small(folder.path()));
    assert_eq!(values(&log, 0), [b"before"], "nobody was told that it was there");
    assert_eq!(append(&log, 0, &["after"]).unwrap(), Offset(2));
}

#[test]
fn a_lane_whose_changelog_failed_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let faults = Arc::new(Faults::default());
    let log = EmbeddedLog::open_with_faults(&small(folder.path()), faults.clone()).unwrap();
    let mut lane = log.lane(0, 1);
    lane.poll(Duration::ZERO).unwrap();
    faults.fail_syncs();
    assert!(matches!(lane.commit(&commit(0)), Err(CommitError::Fatal(_))));
    assert!(matches!(
        lane.poll(Duration::from_secs(60)),
        Err(LogError::Wrong(_))
    ));
}

#[test]
fn an_append_that_gets_no_room_hears_of_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        append_deadline_ms: 1_000,
        fsync_interval_ms: 60_000,
        ..small(folder.path())
    };
    let log = open(&settings);
    append(&log, 0, &["first"]).unwrap();
    let error = append(&log, 0, &["waits for company"]).unwrap_err();
    assert!(error.to_string().contains("within 1000 ms"), "{error}");
}

/// The real thing: a file system of 1 MiB. The test runs itself again in a mount namespace of its own, so it needs `unshare` and
/// either root or user namespaces; nothing stays mounted.
#[test]
fn a_really_full_disk_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        "mount -t tmpfs -o size=1m tmpfs \"$FULL_DISK\" && exec \"$0\" --exact --ignored --nocapture \"$1\"";
    let run = |namespaces: &[&str]| {
        let mut command = Command::new("unshare");
        command
            .args(namespaces)
            .args(["sh", "-c", script])
            .arg(std::env::current_exe().unwrap());
        command.arg(format!(
            "{}::inside_a_file_system_of_one_mib",
            module_path!().split_once("::").unwrap().1
        ));
        command.env("FULL_DISK", folder.path()).output().unwrap()
    };
    let mut output = run(&["--mount"]);
    if !output.status.success() && String::from_utf8_lossy(&output.stderr).contains("ermi") {
        output = run(&["--mount", "--user", "--map-root-user"]);
    }
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by a_really_full_disk_is_survived, on a file system of its own"]
fn inside_a_file_system_of_one_mib() {
    let folder = std::env::var("FULL_DISK").expect("FULL_DISK: a_really_full_disk_is_survived runs this");
    let folder = Path::new(&folder);
    let filler = folder.join("filler");
    fs::write(&filler, vec![0; 300_000]).unwrap();
    let log = open(&Settings {
        segment_bytes: 100_000,
        ..small(folder)
    });
    let mut taken = Vec::new();
    let refused = loop {
        let value = vec![taken.len() as u8; 30_000];
        match block_on(log.appender().append(chunk(0, std::slice::from_ref(&value)))) {
            Ok(_) => taken.push(value),
            Err(error) => break error,
        }
        assert!(taken.len() < 100, "the disk never ran full");
    };
    assert!(
        refused.to_string().contains("No space left on device"),
        "{refused}"
    );
    assert!(taken.len() > 5);
    assert_eq!(values(&log, 0), taken);
    fs::remove_file(&filler).unwrap();
    let last = vec![255; 30_000];
    append(&log, 0, std::slice::from_ref(&last)).unwrap();
    taken.push(last);
    drop(log);
    assert_eq!(
        values(
            &open(&Settings {
                segment_bytes: 100_000,
                ..small(folder)
            }),
            0
        ),
        taken
    );
}
