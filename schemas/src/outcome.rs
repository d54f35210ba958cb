//! What became of an event: each record on `events` has exactly one outcome, and the outcomes add up.

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is in the counts.
    Counted,
    /// Its key was counted before with the same content.
    Duplicate,
    /// It was refused for good.
    DeadLettered(Reason),
    /// It lay in another partition than its key belongs to, and a copy went there.
    Rerouted,
    /// It took back an event that was counted before.
    Reversed,
    /// It waits for the release of its upload, and a copy of it counts then.
    Held,
    /// It is a copy of a held record of which another copy was taken before.
    Repeated,
    /// It is a fact of an upload's life, and no event.
    Noted,
}

/// Why a record was refused for good. The numbers are part of the layouts and never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// Neither Avro in the Confluent format nor JSON.
    Undecodable = 1,
    /// The registry does not know the schema id of the record.
    UnknownSchema = 2,
    /// A field is missing or outside its limits.
    Invalid = 3,
    /// The record's key is not the event's idempotency key.
    KeyMismatch = 4,
    /// The key was counted before with other content.
    KeyConflict = 5,
    /// The record has no key.
    NullKey = 6,
    /// The record has no value.
    NullValue = 7,
    /// The value is larger than an event may be.
    Oversized = 8,
    /// The tenant has more event types in this partition than are allowed.
    TooManyTypes = 9,
    /// It takes back an event that was never counted.
    ReversalUnmatched = 10,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Undecodable,
        Self::UnknownSchema,
        Self::Invalid,
        Self::KeyMismatch,
        Self::KeyConflict,
        Self::NullKey,
        Self::NullValue,
        Self::Oversized,
        Self::TooManyTypes,
        Self::ReversalUnmatched,
    ];

    /// The stable word of this reason, as in answers and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::UnknownSchema => "unknown_schema",
            Self::Invalid => "invalid",
            Self::KeyMismatch => "key_mismatch",
            Self::KeyConflict => "key_conflict",
            Self::NullKey => "null_key",
            Self::NullValue => "null_value",
            Self::Oversized => "oversized",
            Self::TooManyTypes => "too_many_types",
            Self::ReversalUnmatched => "reversal_unmatched",
        }
    }

    /// The reason of a number in a layout.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// The reason of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    fn index(self) -> usize {
        usize::from(self as u8 - 1)
    }
}

/// Counts of each outcome in one source partition, or of one upload in it:
/// `records = counted + duplicate + reversed + dead-lettered + rerouted + held + repeated + noted`.
/// `records` is counted where records are polled, apart from the outcomes, so that the equation can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Records polled.
    pub records: u64,
    /// Of these, copies that a reroute, a release or a redrive wrote.
    pub copies: u64,
    /// Records with the outcome counted.
    pub counted: u64,
    /// Records with the outcome duplicate.
    pub duplicate: u64,
    /// Records with the outcome rerouted.
    pub rerouted: u64,
    /// Records with the outcome reversed.
    pub reversed: u64,
    /// Records with the outcome held.
    pub held: u64,
    /// Records with the outcome repeated.
    pub repeated: u64,
    /// Records with the outcome noted.
    pub noted: u64,
    /// Records dead-lettered, by reason, in the order of [`Reason::ALL`].
    pub dead_lettered: [u64; Reason::ALL.len()],
}

impl Ledger {
    /// Adds one outcome. `records` is the caller's to count.
    pub fn add_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Counted => self.counted += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::Rerouted => self.rerouted += 1,
            Outcome::Reversed => self.reversed += 1,
            Outcome::Held => self.held += 1,
            Outcome::Repeated => self.repeated += 1,
            Outcome::Noted => self.noted += 1,
            Outcome::DeadLettered(reason) => {
                if let Some(count) = self.dead_lettered.get_mut(reason.index()) {
                    *count += 1;
                }
            }
        }
    }

    /// Dead-lettered records of one reason.
    pub fn dead_lettered_for(&self, reason: Reason) -> u64 {
        self.dead_lettered.get(reason.index()).copied().unwrap_or(0)
    }

    /// Dead-lettered records of all reasons.
    pub fn dead_lettered_total(&self) -> u64 {
        self.dead_lettered
            .iter()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Events that a client sent: all records but copies and facts.
    pub fn accepted(&self) -> u64 {
        self.records
            .saturating_sub(self.copies)
            .saturating_sub(self.noted)
    }

    /// Events whose outcome is final: counted, duplicate, reversed or dead-lettered. Of a record that was held or rerouted, its copy's.
    pub fn concluded(&self) -> u64 {
        [self.counted, self.duplicate, self.reversed]
            .iter()
            .fold(self.dead_lettered_total(), |sum, count| {
                sum.saturating_add(*count)
            })
    }

    /// Whether the outcomes add up to the records.
    pub fn balanced(&self) -> bool {
        // In 128 bits, since a store's broken bytes may hold anything.
        let outcomes = [
            self.counted,
            self.duplicate,
            self.rerouted,
            self.reversed,
            self.held,
            self.repeated,
            self.noted,
        ];
        let sum = |counts: &[u64]| counts.iter().map(|count| u128::from(*count)).sum::<u128>();
        u128::from(self.records) == sum(&outcomes) + sum(&self.dead_lettered)
    }

    /// Adds another ledger to this one; a sum beyond 64 bits, which only broken bytes can give, stays at the largest.
    pub fn merge(&mut self, other: &Self) {
        self.records = self.records.saturating_add(other.records);
        self.copies = self.copies.saturating_add(other.copies);
        self.counted = self.counted.saturating_add(other.counted);
        self.duplicate = self.duplicate.saturating_add(other.duplicate);
        self.rerouted = self.rerouted.saturating_add(other.rerouted);
        self.reversed = self.reversed.saturating_add(other.reversed);
        self.held = self.held.saturating_add(other.held);
        self.repeated = self.repeated.saturating_add(other.repeated);
        self.noted = self.noted.saturating_add(other.noted);
        for (mine, theirs) in self.dead_lettered.iter_mut().zip(other.dead_lettered) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_only_when_every_record_has_an_outcome() {
        let mut ledger = Ledger {
            records: 3,
            ..Ledger::default()
        };
        ledger.add_outcome(Outcome::Counted);
        ledger.add_outcome(Outcome::DeadLettered(Reason::TooManyTypes));
        assert!(!ledger.balanced());
        ledger.add_outcome(Outcome::Duplicate);
        assert!(ledger.balanced());
        assert_eq!(ledger.dead_lettered_for(Reason::TooManyTypes), 1);
    }

    #[test]
    fn numbers_and_words_name_one_reason() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_number(reason as u8), Some(reason));
            assert_eq!(Reason::from_word(reason.word()), Some(reason));
        }
    }
}
