//! Uploads: the facts of their lives, as records of `events` under the header `tidemark-kind: fact`, and what follows from them.
//!
//! An upload's facts lie in one partition, that of its id, so they have an order, and of two that exclude each other the first one
//! holds: whoever reads them comes to the same end. Only [`What::Copy`] lies elsewhere: it tells the owner of another partition to
//! release the held records there.
//!
//! Layout, version 1: JSON, as below, with `v`. The record's key is the upload's id.

use crate::event::check_tenant;
use crate::input::RowError;
use crate::wire::Malformed;
use crate::{Day, Offset, Partition, Timestamp, key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const VERSION: u8 = 1;

/// The door of uploads that came through the older service's `POST /api/uploads`.
pub const OLDER_DOOR: &str = "b";

/// A fact of an upload's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// Layout version, 1.
    v: u8,
    /// Whose upload it is.
    pub tenant: String,
    /// Which upload.
    pub upload: Uuid,
    /// When it came to be, in milliseconds since 1970, by the clock of whoever wrote it.
    pub at_ms: i64,
    /// What came to be.
    #[serde(flatten)]
    pub what: What,
}

/// What came to be of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum What {
    /// Its first bytes were asked for.
    Begun(Begun),
    /// So many rows were read so far: a sign of life.
    Going {
        /// Rows read so far.
        rows: u64,
    },
    /// Rows that are not valid. Bytes of such facts stay on `events`.
    Errors {
        /// Which, and why.
        rows: Vec<RowError>,
    },
    /// All its valid rows are durable, to be counted.
    Sent(Totals),
    /// All its valid rows are durable, and wait.
    Held {
        /// How many there are.
        #[serde(flatten)]
        totals: Totals,
        /// Where they lie: of each partition the first offset and the next one behind the last.
        places: Vec<(Partition, Offset, Offset)>,
        /// Whether they are released at once: all were valid and that was the condition.
        release: bool,
    },
    /// It ended early: what was durable before stays. Of a held upload nothing will count.
    Failed {
        /// How many rows there were until then.
        #[serde(flatten)]
        totals: Totals,
        /// A stable word for why.
        code: String,
        /// Why, for people.
        detail: String,
    },
    /// Its held rows are to count.
    Released,
    /// Its held rows shall never count.
    Discarded,
    /// Held rows of it in the partition of this record are to be copied: those from `from` to before `to`.
    Copy {
        /// First offset.
        from: Offset,
        /// Next offset behind the last.
        to: Offset,
    },
}

/// How an upload was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Name of the file, if the sender gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether its rows wait to be released.
    #[serde(default)]
    pub hold: bool,
    /// Whether its rows count only if all of them are valid.
    #[serde(default)]
    pub atomic: bool,
    /// Through which door it came: empty for `/v1/uploads`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub door: String,
}

/// Rows of an upload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rows that are durable.
    pub accepted: u64,
    /// Rows that are not valid, and were not recorded.
    pub invalid: u64,
    /// Invalid rows that no fact lists, beyond the limit.
    #[serde(default)]
    pub unlisted: u64,
    /// Rows that may be durable or not, where it failed.
    #[serde(default)]
    pub unknown: u64,
}

impl Begun {
    /// Whether its rows are held at first: until they are released, or until all are known to be valid.
    pub fn waits(&self) -> bool {
        self.hold || self.atomic
    }
}

impl Fact {
    /// A fact of an upload.
    pub fn new(tenant: impl Into<String>, upload: Uuid, at_ms: i64, what: What) -> Self {
        Self {
            v: VERSION,
            tenant: tenant.into(),
            upload,
            at_ms,
            what,
        }
    }

    /// The record's key.
    pub fn key(&self) -> String {
        self.upload.hyphenated().to_string()
    }

    /// The record's value.
    pub fn encode(&self) -> Vec<u8> {
        // Its types hold no map with keys that are not texts, which alone could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record's value.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let malformed = || Malformed {
            what: "fact of an upload",
        };
        let fact: Self = serde_json::from_slice(bytes).map_err(|_| malformed())?;
        let fits = fact.v == VERSION && check_tenant(&fact.tenant).is_ok();
        fits.then_some(fact).ok_or_else(malformed)
    }

    /// Whether the chain and the views keep the fact itself. The others are many or long: a row says where they lie.
    pub fn is_kept(&self) -> bool {
        !matches!(self.what, What::Errors { .. })
    }
}

/// The partition of an upload's facts.
pub fn home(upload: Uuid, partitions: u32) -> Partition {
    let mut buffer = Uuid::encode_buffer();
    key::partition(
        upload.hyphenated().encode_lower(&mut buffer).as_bytes(),
        partitions,
    )
}

/// The UTC day of an upload, by the time in its id (UUID version 7); the first day of all for other ids.
pub fn day(upload: Uuid) -> Day {
    let ms = match upload.get_version_num() {
        7 => (upload.as_u128() >> 80) as i64,
        _ => 0,
    };
    let last = Timestamp::from_millis(7_289_654_400_000 - 1);
    Timestamp::from_millis(ms).min(last).quarter().day()
}

/// What became of an upload so far, by its facts in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// How it was begun; as by default where the fact is not there.
    pub begun: Begun,
    /// The first fact's time, in milliseconds.
    pub begun_ms: i64,
    /// The newest fact's time, in milliseconds.
    pub newest_ms: i64,
    /// Rows that were read so far, or how many there were in the end.
    pub rows: u64,
    /// Its rows, once it ended.
    pub totals: Option<Totals>,
    /// Why it failed: a stable word, and a text for people.
    pub failure: Option<(String, String)>,
    /// Where it stands.
    pub stage: Stage,
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is not at its end.
    Receiving,
    /// Its rows wait.
    Held,
    /// Its rows count, or will.
    Counting,
    /// Its rows shall never count.
    Discarded,
    /// It ended early.
    Failed,
}

impl Upload {
    /// The upload of its facts in the order of their offsets; `None` of no facts.
    pub fn of<'f>(facts: impl IntoIterator<Item = &'f Fact>) -> Option<Self> {
        let mut upload: Option<Self> = None;
        for fact in facts {
            upload
                .get_or_insert_with(|| Self {
                    begun: Begun::default(),
                    begun_ms: fact.at_ms,
                    newest_ms: fact.at_ms,
                    rows: 0,
                    totals: None,
                    failure: None,
                    stage: Stage::Receiving,
                })
                .take(fact);
        }
        upload
    }

    /// Takes in the next fact. One that the present stage excludes says nothing.
    fn take(&mut self, fact: &Fact) {
        self.newest_ms = self.newest_ms.max(fact.at_ms);
        let next = match (&fact.what, self.stage) {
            (What::Begun(begun), Stage::Receiving) => {
                self.begun = begun.clone();
                Stage::Receiving
            }
            (What::Going { rows }, Stage::Receiving) => {
                self.rows = self.rows.max(*rows);
                Stage::Receiving
            }
            (What::Sent(totals), Stage::Receiving) => self.end(*totals, Stage::Counting),
            (What::Held { totals, release, .. }, Stage::Receiving) => {
                self.end(*totals, if *release { Stage::Counting } else { Stage::Held })
            }
            (What::Failed { totals, code, detail }, Stage::Receiving) => {
                self.failure = Some((code.clone(), detail.clone()));
                self.end(*totals, Stage::Failed)
            }
            (What::Released, Stage::Held) => Stage::Counting,
            (What::Discarded, Stage::Held) => Stage::Discarded,
            (_, stage) => stage,
        };
        self.stage = next;
    }

    fn end(&mut self, totals: Totals, stage: Stage) -> Stage {
        self.rows = totals.accepted.saturating_add(totals.invalid);
        self.totals = Some(totals);
        stage
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);

    fn fact(what: What) -> Fact {
        Fact::new("acme", ID, 5, what)
    }

    fn held() -> What {
        What::Held {
            totals: Totals {
                accepted: 3,
                ..Totals::default()
            },
            places: vec![(Partition(1), Offset(4), Offset(9))],
            release: false,
        }
    }

    #[test]
    fn of_two_facts_that_exclude_each_other_the_first_holds() {
        let begun = || fact(What::Begun(Begun::default()));
        for (facts, stage) in [
            (vec![begun()], Stage::Receiving),
            (vec![begun(), fact(held())], Stage::Held),
            (
                vec![begun(), fact(held()), fact(What::Released), fact(What::Discarded)],
                Stage::Counting,
            ),
            (
                vec![begun(), fact(held()), fact(What::Discarded), fact(What::Released)],
                Stage::Discarded,
            ),
            (vec![begun(), fact(What::Released), fact(held())], Stage::Held),
            (
                vec![
                    begun(),
                    fact(What::Sent(Totals::default())),
                    fact(What::Discarded),
                ],
                Stage::Counting,
            ),
        ] {
            assert_eq!(Upload::of(&facts).unwrap().stage, stage, "{facts:?}");
        }
        assert_eq!(Upload::of(&[]), None);
    }

    #[test]
    fn a_fact_is_read_as_it_was_written_and_nothing_else_is_read() {
        for what in [
            held(),
            What::Released,
            What::Copy {
                from: Offset(1),
                to: Offset(2),
            },
        ] {
            let fact = fact(what);
            assert_eq!(Fact::decode(&fact.encode()).unwrap(), fact);
        }
        for bad in [
            "",
            "{}",
            r#"{"v":2,"tenant":"a","upload":"01920000-0000-7000-8000-000000000001","at_ms":1,"fact":"released"}"#,
        ] {
            assert!(Fact::decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_day_of_an_upload_is_in_its_id() {
        let ms = 1_705_312_800_123_u128;
        assert_eq!(day(Uuid::from_u128(ms << 80 | 7 << 76)), Day(19_737));
        assert_eq!(day(Uuid::from_u128(u128::MAX >> 4 << 4)), Day(0));
        assert_eq!(
            day(Uuid::from_u128(0xffff_ffff_ffff << 80 | 7 << 76)),
            Day(84_370)
        );
    }
}
