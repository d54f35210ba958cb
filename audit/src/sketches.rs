//! The sketches of distinct users that one source partition must have, with their versions, made anew of who was counted.
//!
//! A sketch's version is that of the commit record that changed its bytes last, so users are added in the order of the commit
//! records that brought them, and the bytes are looked at behind each. Nothing is remembered between two sketches.

use crate::names::Names;
use crate::rows::Rows;
use rustc_hash::FxHashMap;
use schemas::distinct::{Distinct, Union};
use schemas::{Day, Offset};

/// A sketch that must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    pub(crate) version: Offset,
    pub(crate) value: Vec<u8>,
}

/// Sketches by number of the type and day.
pub(crate) type Sketches = FxHashMap<(u32, Day), Sketch>;

/// The sketches of a partition whose rows are sorted.
pub(crate) fn of(rows: &Rows, users: &Names) -> Sketches {
    let mut came: FxHashMap<(u32, Day), Vec<(u32, u32)>> = FxHashMap::default();
    for (_, items) in rows.users() {
        for item in items.iter().filter(|item| !item.is_reversed()) {
            let of_type = came.entry((item.event_type, item.day())).or_default();
            match of_type.last_mut() {
                // Of one user the first that came.
                Some((record, user)) if *user == item.user => *record = item.record.min(*record),
                _ => of_type.push((item.record, item.user)),
            }
        }
    }
    let sketches = came
        .into_iter()
        .map(|(place, came)| (place, sketch(rows, users, came)));
    sketches.collect()
}

fn sketch(rows: &Rows, users: &Names, mut came: Vec<(u32, u32)>) -> Sketch {
    came.sort_unstable();
    let (mut sketch, mut version) = (Distinct::default(), Offset(0));
    let mut value = sketch.encode();
    for together in came.chunk_by(|one, next| one.0 == next.0) {
        together
            .iter()
            .for_each(|(_, user)| sketch.add(users.get(*user).1));
        let changed = sketch.encode();
        if changed != value {
            value = changed;
            version = together
                .first()
                .map_or(version, |(record, _)| rows.ends_at(*record));
        }
    }
    Sketch { version, value }
}

/// What a sketch says, for people.
pub(crate) fn text(value: &[u8]) -> String {
    let mut union = Union::default();
    if let Ok(sketch) = Distinct::decode(value) {
        union.add(&sketch);
    }
    let digest = blake3::hash(value).to_hex();
    format!("about {} users in the sketch {digest:.8}", union.estimate().users)
}
