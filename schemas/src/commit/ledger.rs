//! The bytes of a ledger, in commit records and in rows.

use crate::Ledger;
use crate::wire::{self, Malformed, Reader};

/// Appends a ledger: nine counts, then the number of reasons and a count for each.
pub(crate) fn put_ledger(out: &mut Vec<u8>, ledger: &Ledger) {
    for count in [
        ledger.records,
        ledger.copies,
        ledger.counted,
        ledger.duplicate,
        ledger.rerouted,
        ledger.reversed,
        ledger.held,
        ledger.repeated,
        ledger.noted,
    ] {
        wire::put_u64(out, count);
    }
    wire::put_u64(out, ledger.dead_lettered.len() as u64);
    for count in ledger.dead_lettered {
        wire::put_u64(out, count);
    }
}

/// Reads a ledger. One with fewer reasons, written by an older release, has zeros for the others.
pub(crate) fn read_ledger(reader: &mut Reader<'_>) -> Result<Ledger, Malformed> {
    let mut ledger = Ledger {
        records: reader.u64()?,
        copies: reader.u64()?,
        counted: reader.u64()?,
        duplicate: reader.u64()?,
        rerouted: reader.u64()?,
        reversed: reader.u64()?,
        held: reader.u64()?,
        repeated: reader.u64()?,
        noted: reader.u64()?,
        ..Ledger::default()
    };
    let reasons = reader.count(1)?;
    if reasons > ledger.dead_lettered.len() {
        return Err(reader.malformed());
    }
    for count in ledger.dead_lettered.iter_mut().take(reasons) {
        *count = reader.u64()?;
    }
    Ok(ledger)
}
