//! Where the newest events of a user's day must lie, from the events themselves.

use crate::report::RowFault;
use crate::rows::{Item, Rows};
use schemas::commit::Link;
use schemas::positions::{Position, Positions, REMEMBERED};

/// What is wrong with where a user's events lie: the newest of them, how many older ones there are, and from where those are found.
pub(crate) fn differ(rows: &Rows, items: &[Item], found: &Positions) -> Option<RowFault> {
    let mut all: Vec<Position> = items
        .iter()
        .map(|item| Position {
            offset: item.offset,
            reverse: item.is_reversed(),
        })
        .collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    let older = all.len().saturating_sub(REMEMBERED);
    all.truncate(REMEMBERED);
    let link = (older > 0).then(|| rows.link(items));
    let said: Vec<Position> = found.iter().collect();
    if (said.as_slice(), found.older(), found.last()) == (all.as_slice(), older as u64, link) {
        return None;
    }
    let text = |positions: &[Position], older: u64, link: Option<Link>| {
        let offsets: Vec<u64> = positions.iter().map(|position| position.offset.0).collect();
        let link = link.map_or(String::new(), |link| {
            format!(" before {} at {}", link.id, link.changelog)
        });
        format!("positions {offsets:?} and {older} older ones{link}")
    };
    Some(RowFault::Value {
        expected: text(&all, older as u64, link),
        found: text(&said, found.older(), found.last()),
    })
}
