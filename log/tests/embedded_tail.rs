//! A write that the power cut short is cut, and nothing else ever is.

use crate::embedded_fixture::{append, open, segments, small, values};
use log::LogError;
use log::embedded::{EmbeddedLog, Settings};
use schemas::{Offset, Partition};
use std::fs;
use std::path::Path;

/// A log of three frames in one segment; returns the segment's bytes after each.
fn three_frames(folder: &Path) -> Vec<Vec<u8>> {
    let log = open(&small(folder));
    (0..3)
        .map(|i| {
            append(&log, 0, &[format!("first of {i}"), format!("second of {i}")]).unwrap();
            fs::read(&segments(folder, 0)[0]).unwrap()
        })
        .collect()
}

#[test]
fn a_torn_last_frame_is_cut_at_every_byte_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let settings = small(folder.path());
    let files = three_frames(folder.path());
    let segment = segments(folder.path(), 0).remove(0);
    let whole = &files[2];
    let kept: Vec<Vec<u8>> = ["first of 0", "second of 0", "first of 1", "second of 1"]
        .map(Into::into)
        .into();
    for end in files[1].len()..whole.len() {
        // The rest was never written; was allocated but never written; or was something else's.
        let missing = whole[..end].to_vec();
        let zeros = [&whole[..end], &vec![0; whole.len() - end][..]].concat();
        let garbage = [&whole[..end], &vec![0xa5; 3 * whole.len()][..]].concat();
        for file in [missing, zeros, garbage] {
            if file == *whole {
                continue;
            }
            fs::write(&segment, &file).unwrap();
            let log = open(&settings);
            assert_eq!(values(&log, 0), kept, "torn at {end}");
            assert_eq!(fs::read(&segment).unwrap(), files[1]);
            assert_eq!(append(&log, 0, &["next"]).unwrap(), Offset(5));
            assert_eq!(values(&log, 0).len(), 5);
        }
    }
}

#[test]
fn damage_before_the_last_frame_refuses_the_start_at_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let files = three_frames(folder.path());
    let segment = segments(folder.path(), 0).remove(0);
    for at in 0..files[1].len() {
        let mut file = files[2].clone();
        file[at] ^= 0x10;
        fs::write(&segment, &file).unwrap();
        let error = EmbeddedLog::open(&small(folder.path())).unwrap_err();
        assert!(matches!(error, LogError::Wrong(_)), "{error}");
        let (text, frame) = (
            error.to_string(),
            if at < files[0].len() { 0 } else { files[0].len() },
        );
        assert!(text.contains(&segment.display().to_string()), "{text}");
        assert!(
            text.contains(&format!("at byte {frame}: ")) && text.contains("restore"),
            "{text}"
        );
        assert_eq!(fs::read(&segment).unwrap(), file, "nothing was cut");
    }
}

#[test]
fn after_a_clean_close_damage_to_the_last_records_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let files = three_frames(folder.path());
    let segment = segments(folder.path(), 0).remove(0);
    let closed = fs::read(&segment).unwrap();
    assert!(closed.starts_with(&files[2]) && closed.len() > files[2].len());
    let log = open(&small(folder.path()));
    assert_eq!(values(&log, 0).len(), 6, "the mark is no record");
    drop(log);
    assert_eq!(
        fs::read(&segment).unwrap(),
        closed,
        "nothing was written, so there is no second mark"
    );
    for at in files[1].len()..files[2].len() {
        let mut file = closed.clone();
        file[at] ^= 1;
        fs::write(&segment, &file).unwrap();
        assert!(matches!(
            EmbeddedLog::open(&small(folder.path())).unwrap_err(),
            LogError::Wrong(_)
        ));
    }
    fs::write(&segment, &closed).unwrap();
    let log = open(&small(folder.path()));
    assert_eq!(append(&log, 0, &["more"]).unwrap(), Offset(7));
    assert_eq!(values(&log, 0).len(), 7);
}

#[test]
fn a_frame_that_is_missing_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let files = three_frames(folder.path());
    let segment = segments(folder.path(), 0).remove(0);
    let without_second = [&files[0][..], &files[2][files[1].len()..]].concat();
    fs::write(&segment, without_second).unwrap();
    assert!(matches!(
        EmbeddedLog::open(&small(folder.path())).unwrap_err(),
        LogError::Wrong(_)
    ));
}

#[test]
fn a_client_cannot_write_a_frame_into_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let files = three_frames(folder.path());
    let other = tempfile::tempdir().unwrap();
    let log = open(&small(other.path()));
    append(&log, 0, &[&files[2]]).unwrap();
    let segment = segments(other.path(), 0).remove(0);
    let mut file = fs::read(&segment).unwrap();
    drop(log);
    file[10] ^= 1;
    fs::write(&segment, &file).unwrap();
    assert_eq!(
        values(&open(&small(other.path())), 0).len(),
        0,
        "a torn frame, and no frame of ours inside it"
    );
}

#[test]
fn damage_in_an_older_segment_is_told_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_bytes: 1,
        ..small(folder.path())
    };
    let log = open(&settings);
    for i in 0..3 {
        append(&log, 0, &[format!("event {i}")]).unwrap();
    }
    drop(log);
    let segment = segments(folder.path(), 0).remove(1);
    let whole = fs::read(&segment).unwrap();
    for at in 0..whole.len() {
        let mut file = whole.clone();
        file[at] ^= 4;
        fs::write(&segment, &file).unwrap();
        let log = open(&settings);
        let mut reader = log.reader();
        let error = reader
            .read(Partition(0), Offset(0), Offset(3), 1 << 20)
            .unwrap_err();
        assert!(
            matches!(&error, LogError::Wrong(text) if text.contains(&segment.display().to_string())),
            "{error}"
        );
        let before = reader.read(Partition(0), Offset(0), Offset(1), 1 << 20).unwrap();
        assert_eq!(before.len(), 1);
    }
}

#[test]
fn append_times_never_fall_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        segment_bytes: 1,
        ..small(folder.path())
    };
    for i in 0..3 {
        append(&open(&settings), 0, &[format!("{i}")]).unwrap();
    }
    // The last segment is empty, as after a power loss right behind its making.
    fs::write(segments(folder.path(), 0).remove(2), b"").unwrap();
    let log = open(&settings);
    assert_eq!(append(&log, 0, &["again"]).unwrap(), Offset(3));
    assert_eq!(values(&log, 0).len(), 3);
}
