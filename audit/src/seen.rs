//! Which keys were counted, and with which content. Keys by 128 bits and contents by 64 bits of BLAKE3 over their canonical
//! bytes: 25 bytes a key and a third to spare.

use rustc_hash::{FxHashMap, FxHashSet};
use schemas::{Event, Quarter};

/// The keys counted so far.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    contents: FxHashMap<[u64; 2], u64>,
    /// Those that were taken back.
    reversed: FxHashSet<[u64; 2]>,
    /// Where those were counted whose time the server set.
    assigned: FxHashMap<[u64; 2], Quarter>,
    scratch: Vec<u8>,
}

/// What was known of an event's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing.
    New,
    /// It was counted with the same content.
    Same,
    /// It was counted with other content.
    Other,
}

/// An event's key and content as they are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    key: [u64; 2],
    content: u64,
}

impl Seen {
    /// The print of an event.
    pub(crate) fn print(&mut self, event: &Event<'_>) -> Print {
        let bytes = &mut self.scratch;
        bytes.clear();
        put(bytes, event.tenant.as_bytes());
        put(bytes, event.idempotency_key.as_bytes());
        let [high, low, ..] = words(bytes);
        bytes.clear();
        put_content(bytes, event);
        let [content, ..] = words(bytes);
        Print {
            key: [high, low],
            content,
        }
    }

    /// What is known of this key.
    pub(crate) fn look(&self, print: Print) -> Known {
        match self.contents.get(&print.key) {
            None => Known::New,
            Some(content) if *content == print.content => Known::Same,
            Some(_) => Known::Other,
        }
    }

    /// Remembers a key that is counted.
    pub(crate) fn remember(&mut self, print: Print, event: &Event<'_>) {
        self.contents.insert(print.key, print.content);
        if event.occurred_at_assigned {
            self.assigned.insert(print.key, event.occurred_at.quarter());
        }
    }

    /// Whether what was counted under this key was taken back.
    pub(crate) fn is_reversed(&self, print: Print) -> bool {
        self.reversed.contains(&print.key)
    }

    /// Takes back what was counted under this key: where that was, or nothing if it was taken back before.
    pub(crate) fn reverse(&mut self, print: Print, event: &Event<'_>) -> Option<Quarter> {
        let counted = || self.assigned.get(&print.key).copied();
        let quarter = counted().unwrap_or_else(|| event.occurred_at.quarter());
        self.reversed.insert(print.key).then_some(quarter)
    }
}

/// All that makes two events of one key the same event: tenant, user, type, time unless the server set it, amount, and
/// metadata.
fn put_content(bytes: &mut Vec<u8>, event: &Event<'_>) {
    for text in [&event.tenant, &event.user_id, &event.event_type] {
        put(bytes, text.as_bytes());
    }
    if event.occurred_at_assigned {
        bytes.push(0);
    } else {
        bytes.push(1);
        bytes.extend_from_slice(&event.occurred_at.0.to_be_bytes());
    }
    match event.amount {
        None => bytes.push(0),
        Some(amount) => {
            bytes.push(1);
            bytes.extend_from_slice(&amount.millionths().to_be_bytes());
        }
    }
    for (name, value) in &event.metadata {
        put(bytes, name.as_bytes());
        put(bytes, value.as_bytes());
    }
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
    bytes.extend_from_slice(text);
}

fn words(bytes: &[u8]) -> [u64; 4] {
    let hash = blake3::hash(bytes);
    let mut words = [0; 4];
    for (word, eight) in words.iter_mut().zip(hash.as_bytes().chunks_exact(8)) {
        *word = eight.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    words
}
