//! The folder belongs to one process, and is refused when it is not what it should be.

use crate::embedded_fixture::{append, open, segments, small, values, values_by};
use log::LogError;
use log::embedded::{EmbeddedLog, LogFolder, Settings};
use schemas::generation::Generation;
use std::fs;
use uuid::Uuid;

#[test]
fn a_second_open_of_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(folder.path()));
    for error in [
        EmbeddedLog::open(&small(folder.path())).unwrap_err(),
        LogFolder::open(folder.path()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("in use by another process"), "{error}");
    }
    let reader = log.reader();
    drop(log);
    EmbeddedLog::open(&small(folder.path())).expect_err("a reader still holds it");
    drop(reader);
    open(&small(folder.path()));
}

#[test]
fn a_log_keeps_its_ids_and_its_number_of_partitions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("log");
    let log = open(&Settings {
        partitions: 3,
        ..Settings::new(&path)
    });
    let ids = (log.events_id(), log.changelog_id());
    assert_ne!(ids.0, ids.1);
    drop(log);
    let error = EmbeddedLog::open(&Settings::new(&path)).unwrap_err();
    assert!(
        error.to_string().contains("3 partitions and the settings say 4"),
        "{error}"
    );
    let log = open(&Settings {
        partitions: 3,
        ..Settings::new(&path)
    });
    assert_eq!((log.events_id(), log.changelog_id()), ids);
}

#[test]
fn a_log_whose_identity_is_gone_is_not_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(folder.path()));
    append(&log, 0, &["event"]).unwrap();
    drop(log);
    fs::remove_file(folder.path().join("log.json")).unwrap();
    let error = EmbeddedLog::open(&small(folder.path())).unwrap_err();
    assert!(
        matches!(error, LogError::Wrong(_)) && error.to_string().contains("log.json is gone"),
        "{error}"
    );
}

#[test]
fn a_log_whose_first_segment_is_gone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_bytes: 1,
        ..small(folder.path())
    };
    let log = open(&settings);
    for i in 0..3 {
        append(&log, 0, &[format!("{i}")]).unwrap();
    }
    drop(log);
    let segments = segments(folder.path(), 0);
    let middle = fs::read(&segments[1]).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    let log = open(&settings);
    let error = log
        .reader()
        .read(
            schemas::Partition(0),
            schemas::Offset(0),
            schemas::Offset(3),
            1 << 20,
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("ends at offset 1, and the next segment begins at 2"),
        "{error}"
    );
    drop(log);
    fs::write(&segments[1], middle).unwrap();
    fs::remove_file(&segments[0]).unwrap();
    let error = EmbeddedLog::open(&settings).unwrap_err();
    assert!(error.to_string().contains("before offset 1 are gone"), "{error}");
}

#[test]
fn a_generation_record_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(folder.path()));
    assert_eq!(log.generation().unwrap(), None);
    let mut generation = Generation {
        layout: 1,
        number: 1,
        partitions: 1,
        events_id: log.events_id(),
        changelog_id: Uuid::nil(),
        partitioner: "murmur2".into(),
        secret: schemas::key::Secret([7; 32]),
        user_buckets: 512,
        fold_version: 1,
        schema_id: None,
        schema_digest: "digest".into(),
    };
    for number in 1..3 {
        generation.number = number;
        log.set_generation(&generation).unwrap();
    }
    drop(log);
    assert_eq!(
        LogFolder::open(folder.path()).unwrap().generation().unwrap(),
        Some(generation)
    );
}

#[test]
fn the_audit_reads_a_folder_without_changing_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(
        LogFolder::open(folder.path())
            .unwrap_err()
            .to_string()
            .contains("no log in")
    );
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);

    let log = open(&small(folder.path()));
    append(&log, 0, &["one", "two"]).unwrap();
    drop(log);
    let segment = &segments(folder.path(), 0)[0];
    let mut torn = fs::read(segment).unwrap();
    torn.extend_from_slice(b"TMF1 and then the power went");
    fs::write(segment, &torn).unwrap();
    let audit = LogFolder::open(folder.path()).unwrap();
    assert_eq!(values_by(&mut *audit.reader(), 0, 1 << 20), [b"one", b"two"]);
    drop(audit);
    assert_eq!(fs::read(segment).unwrap(), torn);
    assert_eq!(values(&open(&small(folder.path())), 0).len(), 2);
    assert_eq!(fs::read(segment).unwrap().len(), torn.len() - 28);
}
