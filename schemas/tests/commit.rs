//! The commit record: whatever was concluded is read as it was concluded, and nothing broken is read at all.

use crate::given::any_amount;
use proptest::prelude::*;
use schemas::commit::{
    self, CommitRecord, Counted, Entries, Exception, Fate, Fresh, Head, Part, Refusal, Source,
};
use schemas::key::{ContentHash, Fingerprint};
use schemas::redrive::{Redrive, Redriven};
use schemas::{Amount, Ledger, Offset, Outcome, Partition, Quarter, Reason};
use uuid::Uuid;

/// What became of one record, with nothing borrowed.
#[derive(Clone, Debug)]
enum Said {
    Counted {
        fresh: Fresh,
        type_index: u32,
        user: String,
        amount: Option<Amount>,
    },
    Duplicate,
    Rerouted(u32),
    Repeated,
    Held,
    Noted(Vec<u8>),
    DeadLettered {
        reason: Reason,
        accepted_ms: i64,
        tenant: String,
        user: String,
        detail: String,
        row: Option<u64>,
    },
}

pub(crate) fn head(from: u64, to: u64) -> Head {
    Head {
        generation: 3,
        fold_version: 1,
        partition: Partition(2),
        from: Offset(from),
        to: Offset(to),
        leader_epoch: -1,
        lane: "lane-0".into(),
        max_append_ms: 1_705_312_800_123,
        rerouted_through: Offset(from),
        released_through: Offset(from / 2),
        ledger: Ledger {
            records: to,
            copies: 1,
            counted: to - 2,
            duplicate: 1,
            rerouted: 1,
            ..Ledger::default()
        },
    }
}

fn any_fresh() -> impl Strategy<Value = Fresh> {
    (any::<u128>(), any::<u64>(), 0_u32..1 << 23, any::<bool>()).prop_map(
        |(fingerprint, content, quarter, reversed)| Fresh {
            fingerprint: Fingerprint(fingerprint),
            content: ContentHash::from_low_bits(content),
            quarter: Quarter(quarter),
            reversed,
        },
    )
}

fn any_said() -> impl Strategy<Value = Said> {
    prop_oneof![
        4 => (any_fresh(), 0_u32..2, ".{0,12}", proptest::option::of(any_amount()))
            .prop_map(|(fresh, type_index, user, amount)| Said::Counted { fresh, type_index, user, amount }),
        1 => Just(Said::Duplicate),
        1 => any::<u32>().prop_map(Said::Rerouted),
        1 => Just(Said::Repeated),
        1 => Just(Said::Held),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Said::Noted),
        1 => (0..Reason::ALL.len(), any::<i64>(), ("[a-z]{0,9}", ".{0,12}", ".{0,100}"), proptest::option::of(0..u64::MAX)).prop_map(
            |(reason, accepted_ms, (tenant, user, detail), row)| {
                let reason = Reason::ALL[reason];
                Said::DeadLettered { reason, accepted_ms, tenant, user, detail, row }
            },
        ),
    ]
}

/// Where a record came from; what is held, and a fact that is kept, always says it.
fn any_source() -> impl Strategy<Value = Option<Source>> {
    let source = (0_u32..2, proptest::option::of(0_u64..2)).prop_map(|(upload_index, copy_of)| Source {
        upload_index,
        copy_of: copy_of.map(Offset),
    });
    proptest::option::of(source)
}

/// A letter's partition and offset, when it was accepted, and tenant, who, when and whether it was mended.
type AnyRedrive = ((u32, u64, i64), (String, String, i64, bool));

fn any_redrive() -> impl Strategy<Value = AnyRedrive> {
    let letter = (any::<u32>(), 0..=i64::MAX as u64, any::<i64>());
    (letter, ("[a-z]{0,9}", "[a-z]{1,12}", any::<i64>(), any::<bool>()))
}

/// A long detail is cut between characters.
fn cut_detail(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(200)]
}

impl Said {
    /// What it is as a try to redrive a dead letter, if it can be one.
    fn tried<'a>(&self, copy: Offset, redrive: &'a AnyRedrive) -> Option<(Redriven<'a>, Outcome)> {
        let outcome = match self {
            Self::Counted { fresh, .. } if fresh.reversed => Outcome::Reversed,
            Self::Counted { .. } => Outcome::Counted,
            Self::Duplicate => Outcome::Duplicate,
            Self::Repeated => Outcome::Repeated,
            Self::DeadLettered { reason, .. } => Outcome::DeadLettered(*reason),
            Self::Rerouted(_) | Self::Held | Self::Noted(_) => return None,
        };
        let ((partition, offset, accepted_ms), (tenant, who, at_ms, edited)) = redrive;
        let redriven = Redriven {
            copy,
            partition: Partition(*partition),
            offset: Offset(*offset),
            accepted_ms: *accepted_ms,
            redrive: Redrive {
                tenant,
                who,
                at_ms: *at_ms,
                edited: *edited,
            },
        };
        Some((redriven, outcome))
    }

    fn detail(&self) -> &str {
        match self {
            Self::DeadLettered { detail, .. } => cut_detail(detail),
            _ => "",
        }
    }

    fn source(&self, source: Option<Source>) -> Option<Source> {
        let first = Source {
            upload_index: 0,
            copy_of: None,
        };
        match self {
            // A canary comes from no upload.
            Self::Noted(bytes) if bytes.is_empty() => source,
            Self::Held | Self::Noted(_) => source.or(Some(first)),
            _ => source,
        }
    }

    fn fate(&self) -> Option<Fate<'_>> {
        Some(match self {
            Self::Counted { .. } => return None,
            Self::Duplicate => Fate::Duplicate,
            Self::Rerouted(to) => Fate::Rerouted(Partition(*to)),
            Self::Repeated => Fate::Repeated,
            Self::Held => Fate::Held,
            Self::Noted(bytes) => Fate::Noted(bytes),
            Self::DeadLettered {
                reason,
                accepted_ms,
                tenant,
                user,
                detail,
                row,
            } => Fate::DeadLettered(Refusal {
                reason: *reason,
                accepted_ms: *accepted_ms,
                tenant,
                user,
                detail: cut_detail(detail),
                row: *row,
            }),
        })
    }

    fn counted(&self, offset: Offset, source: Option<Source>) -> Option<Counted<'_>> {
        let Self::Counted {
            fresh,
            type_index,
            user,
            amount,
        } = self
        else {
            return None;
        };
        Some(Counted {
            offset,
            fresh: *fresh,
            type_index: *type_index,
            user,
            amount: *amount,
            source,
        })
    }

    fn exception(&self, offset: Offset, source: Option<Source>) -> Option<Exception<'_>> {
        let fate = self.fate()?;
        Some(Exception { offset, fate, source })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_concluded_is_read(
        from in 2_u64..1 << 62,
        said in proptest::collection::vec((1_u64..5, any_said(), any_source(), proptest::option::of(any_redrive())), 0..60),
    ) {
        let mut entries = Entries::default();
        prop_assert_eq!(entries.add_type("acme", "click"), 0);
        prop_assert_eq!(entries.add_type("acme", "view"), 1);
        prop_assert_eq!(entries.add_upload("acme", Uuid::from_u128(7)), 0);
        prop_assert_eq!(entries.add_upload("other", Uuid::from_u128(7)), 1);
        let mut offset = from;
        let mut places = vec![];
        let mut tries = vec![];
        for (step, said, source, redrive) in &said {
            let (at, source) = (Offset(offset), said.source(*source));
            if let Some(counted) = said.counted(at, source) {
                entries.add_counted(&counted);
            }
            if let Some(exception) = said.exception(at, source) {
                entries.add_exception(&exception);
            }
            places.push((at, said, source));
            if let Some((redriven, outcome)) = redrive.as_ref().and_then(|redrive| said.tried(at, redrive)) {
                entries.add_redriven(&redriven);
                tries.push((redriven, outcome, said.detail()));
            }
            offset += step;
        }
        let head = head(from, offset.max(from + 2));
        let parts = commit::cut(Uuid::from_u128(5), Uuid::from_u128(4), &entries.encode(&head));
        prop_assert_eq!(parts.len(), 1);
        let part = Part::decode(&parts[0]).unwrap();
        prop_assert_eq!((part.id, part.prev, part.index, part.count), (Uuid::from_u128(5), Uuid::from_u128(4), 0, 1));
        let record = CommitRecord::decode(part.chunk.to_vec()).unwrap();
        prop_assert_eq!(&record.head, &head);
        let uploads = ["acme", "other"].map(|tenant| (tenant.to_owned(), Uuid::from_u128(7)));
        prop_assert_eq!(record.uploads.as_slice(), uploads.as_slice());
        let (mut counted, mut exceptions) = (record.counted(), record.exceptions());
        for (offset, said, source) in places {
            match said.counted(offset, source) {
                expected @ Some(_) => prop_assert_eq!(counted.next(), expected),
                None => prop_assert_eq!(exceptions.next(), said.exception(offset, source)),
            }
        }
        prop_assert_eq!(counted.next(), None);
        prop_assert_eq!(exceptions.next(), None);
        prop_assert_eq!(record.tries().collect::<Vec<_>>(), tries);
    }

    #[test]
    fn a_part_with_any_byte_changed_is_refused(chunk in proptest::collection::vec(any::<u8>(), 1..300), place in any::<prop::sample::Index>(), change in 1_u8..) {
        let mut parts = commit::cut(Uuid::from_u128(5), Uuid::from_u128(4), &chunk);
        let place = place.index(parts[0].len());
        parts[0][place] ^= change;
        prop_assert!(Part::decode(&parts[0]).is_err(), "byte {}", place);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), place in any::<prop::sample::Index>(), byte: u8) {
        let _ = Part::decode(&bytes);
        let _ = CommitRecord::decode(bytes);
        let mut body = small_body();
        let place = place.index(body.len());
        body[place] = byte;
        if let Ok(record) = CommitRecord::decode(body) {
            prop_assert!(record.counted().all(|counted| (counted.type_index as usize) < record.types.len()));
        }
    }
}

/// A record with one entry of each kind.
pub(crate) fn small_body() -> Vec<u8> {
    let mut entries = Entries::default();
    let type_index = entries.add_type("acme", "purchase");
    entries.add_upload("acme", Uuid::from_u128(7));
    let fresh = Fresh {
        fingerprint: Fingerprint(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        content: ContentHash::from_low_bits(0x01_0203_0405),
        quarter: Quarter(1_894_792),
        reversed: false,
    };
    let amount = Amount::from_millionths(-12_500_000);
    entries.add_counted(&Counted {
        offset: Offset(1000),
        fresh,
        type_index,
        user: "müller",
        amount,
        source: Some(Source {
            upload_index: 0,
            copy_of: Some(Offset(7)),
        }),
    });
    entries.add_exception(&Exception {
        offset: Offset(1001),
        fate: Fate::Duplicate,
        source: None,
    });
    entries.add_exception(&Exception {
        offset: Offset(1003),
        fate: Fate::Rerouted(Partition(5)),
        source: None,
    });

    let refusal = Refusal {
        reason: Reason::KeyConflict,
        accepted_ms: 1_705_312_800_123,
        tenant: "acme",
        user: "u1",
        detail: "the amount differs",
        row: Some(12),
    };
    entries.add_exception(&Exception {
        offset: Offset(1004),
        fate: Fate::DeadLettered(refusal),
        source: Some(Source {
            upload_index: 0,
            copy_of: None,
        }),
    });
    entries.add_redriven(&redriven(1004));
    entries.encode(&head(1000, 1005))
}

pub(crate) fn redriven(copy: u64) -> Redriven<'static> {
    Redriven {
        copy: Offset(copy),
        partition: Partition(1),
        offset: Offset(300),
        accepted_ms: 1_705_312_800_123,
        redrive: Redrive {
            tenant: "acme",
            who: "k1",
            at_ms: 1_705_312_900_456,
            edited: true,
        },
    }
}

#[test]
fn a_redriven_copy_without_an_outcome_of_its_own_is_refused() {
    let record = |fate: Option<Fate<'_>>, copies: &[u64]| {
        let mut entries = Entries::default();
        entries.add_upload("acme", Uuid::from_u128(7));
        let source = Some(Source {
            upload_index: 0,
            copy_of: None,
        });
        if let Some(fate) = fate {
            let offset = Offset(1000);
            entries.add_exception(&Exception { offset, fate, source });
        }
        copies
            .iter()
            .for_each(|copy| entries.add_redriven(&redriven(*copy)));
        CommitRecord::decode(entries.encode(&head(1000, 1005)))
    };
    let right = record(Some(Fate::Duplicate), &[1000]).unwrap();
    assert_eq!(right.redrives().collect::<Vec<_>>(), [redriven(1000)]);
    assert_eq!((right.redrive_count, right.tries().count()), (1, 1));
    for (fate, copies) in [
        (None, vec![1000]),
        (Some(Fate::Duplicate), vec![1001]),
        (Some(Fate::Duplicate), vec![1000, 1000]),
        (Some(Fate::Duplicate), vec![2000]),
        (Some(Fate::Held), vec![1000]),
        (Some(Fate::Rerouted(Partition(0))), vec![1000]),
    ] {
        assert!(record(fate, &copies).is_err(), "{fate:?} {copies:?}");
    }
}

#[test]
fn a_record_without_redrives_spends_one_byte_on_them() {
    let body = |entries: &Entries| entries.encode(&head(1000, 1005)).len();
    let mut entries = Entries::default();
    entries.add_exception(&Exception {
        offset: Offset(1000),
        fate: Fate::Duplicate,
        source: None,
    });
    let without = body(&entries);
    assert_eq!(entries.encode(&head(1000, 1005)).last(), Some(&0));
    entries.add_redriven(&redriven(1000));
    assert!(body(&entries) > without + 20);
}

#[test]
fn a_large_record_is_cut_into_parts_that_fit_and_put_together_again() {
    let body: Vec<u8> = (0..2_000_000_u32).map(|place| (place % 251) as u8).collect();
    let parts = commit::cut(Uuid::from_u128(5), Uuid::nil(), &body);
    assert_eq!(parts.len(), 3);
    assert!(
        parts
            .iter()
            .all(|part| part.len() <= schemas::limits::COMMIT_PART_BYTES)
    );
    let chunks: Vec<&[u8]> = parts
        .iter()
        .map(|part| Part::decode(part).unwrap().chunk)
        .collect();
    assert_eq!(chunks.concat(), body);
}

#[test]
fn a_record_that_says_two_things_of_one_offset_is_refused() {
    let mut entries = Entries::default();
    entries.add_exception(&Exception {
        offset: Offset(1000),
        fate: Fate::Duplicate,
        source: None,
    });
    entries.add_exception(&Exception {
        offset: Offset(1000),
        fate: Fate::Duplicate,
        source: None,
    });
    assert!(CommitRecord::decode(entries.encode(&head(1000, 1005))).is_err());
}

#[test]
fn a_record_that_speaks_of_offsets_outside_its_own_is_refused() {
    for offset in [999, 1005] {
        let mut entries = Entries::default();
        entries.add_exception(&Exception {
            offset: Offset(offset),
            fate: Fate::Duplicate,
            source: None,
        });
        assert!(CommitRecord::decode(entries.encode(&head(1000, 1005))).is_err());
    }
}
