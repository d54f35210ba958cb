//! What is in a generated file, and that it is what is expected of it.

use crate::reading::read;
use bench::generate::{Expectation, SAMPLE_EVENTS, SAMPLE_EXPECTED, Settings, sample, write};
use std::path::Path;

fn small() -> Settings {
    Settings {
        rows: 40_000,
        users: 5000,
        invalid: 0.01,
        ..Settings::default()
    }
}

fn made(settings: &Settings) -> (Vec<u8>, Expectation) {
    let mut csv = vec![];
    let expectation = write(settings, &mut csv).unwrap();
    (csv, expectation)
}

#[test]
fn a_plain_reading_finds_what_is_expected() {
    for settings in [small(), sample()] {
        let (csv, expectation) = made(&settings);
        let read = read(&csv);
        let totals = expectation.totals;
        assert_eq!(
            (read.counted, read.duplicate, read.key_conflict),
            (totals.counted, totals.duplicate, totals.key_conflict)
        );
        let [missing, bad, fine, long, far] = totals.invalid;
        let refused = |field, code| read.refused.get(&(field, code)).copied().unwrap_or(0);
        assert_eq!(refused("user_id", "missing"), missing);
        assert_eq!(refused("timestamp", "not_a_time"), bad);
        assert_eq!(refused("amount", "out_of_range"), fine);
        assert_eq!(refused("event_type", "too_long"), long);
        assert!(refused("timestamp", "out_of_range") > 0 && refused("timestamp", "in_future") > 0);
        assert_eq!(
            refused("timestamp", "out_of_range") + refused("timestamp", "in_future"),
            far
        );
        assert_eq!(
            totals.accepted + read.refused.values().sum::<u64>(),
            settings.rows
        );
        let days = expectation
            .days()
            .map(|(day, kind, tally)| ((day, kind.to_owned()), (tally.count, tally.sum)));
        assert_eq!(days.collect::<std::collections::BTreeMap<_, _>>(), read.days);
        let users = expectation
            .users()
            .map(|(user, kind, day, tally)| ((user, kind.to_owned(), day), (tally.count, tally.sum)));
        assert_eq!(users.collect::<std::collections::BTreeMap<_, _>>(), read.users);
        assert_eq!(read.pages > 0, settings.pages);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let first = made(&small());
    assert_eq!(first, made(&small()));
    assert_ne!(first.0, made(&Settings { seed: 2, ..small() }).0);
}

#[test]
fn shares_are_what_was_asked_for() {
    let (csv, expectation) = made(&Settings {
        rows: 200_000,
        ..Settings::default()
    });
    let totals = expectation.totals;
    let near = |found: u64, share: f64| {
        let expected = 200_000.0 * share;
        (found as f64 - expected).abs() < 5.0 * expected.sqrt()
    };
    assert!(near(totals.duplicate, 0.025), "{totals:?}");
    assert!(near(totals.key_conflict, 0.025), "{totals:?}");
    assert!(near(totals.invalid.iter().sum(), 0.001), "{totals:?}");
    let clicks = expectation
        .days()
        .filter(|(_, kind, _)| *kind == "click")
        .map(|(.., tally)| tally.count);
    assert!(near(clicks.sum(), 0.6 * 0.949));
    let busy = expectation
        .days()
        .filter(|(day, ..)| day.0 >= 20_395)
        .map(|(.., tally)| tally.count);
    assert!(near(busy.sum(), 0.9 * 0.949));
    let bytes = csv.len() as f64 / 200_000.0;
    assert!((80.0..90.0).contains(&bytes), "{bytes} bytes a row");
}

#[test]
fn half_of_the_repeats_are_near_and_half_lie_anywhere_before() {
    let (csv, _) = made(&Settings {
        rows: 100_000,
        ..Settings::default()
    });
    let mut first = std::collections::HashMap::new();
    let (mut near, mut far) = (0, 0);
    for (row, line) in std::str::from_utf8(&csv).unwrap().lines().enumerate() {
        let key = line.rsplit(',').next().unwrap().to_owned();
        match *first.entry(key).or_insert(row) {
            of if of == row => {}
            of if row - of <= 1000 => near += 1,
            _ => far += 1,
        }
    }
    assert!(
        (0.8..1.25).contains(&(f64::from(near) / f64::from(far))),
        "{near} near, {far} far"
    );
}

#[test]
fn an_expectation_reads_back_as_it_was_written() {
    let (_, expectation) = made(&sample());
    let mut file = vec![];
    expectation.write(&mut file).unwrap();
    let read = Expectation::read(file.as_slice()).unwrap();
    assert_eq!(read, expectation);
    for end in [file.len() / 2, file.len() - 5] {
        assert!(Expectation::read(&file[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn the_sample_in_the_repository_is_what_the_generator_writes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sample");
    let (csv, expectation) = made(&sample());
    let mut file = vec![];
    expectation.write(&mut file).unwrap();
    let again = "run `cargo run -p bench --bin generate -- --sample` at the root";
    assert!(
        std::fs::read(folder.join(SAMPLE_EVENTS)).unwrap() == csv,
        "{again}"
    );
    assert!(
        std::fs::read(folder.join(SAMPLE_EXPECTED)).unwrap() == file,
        "{again}"
    );
}
