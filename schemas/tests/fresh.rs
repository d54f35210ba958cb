//! What dedup remembers of an event: 24 bytes that hold all of it.

use proptest::prelude::*;
use schemas::Quarter;
use schemas::commit::Fresh;
use schemas::key::{ContentHash, Fingerprint};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_entry_reads_as_it_was_written(fingerprint: u128, content in 0_u64..1 << 40, quarter in 0_u32..1 << 23, reversed: bool) {
        let fresh = Fresh {
            fingerprint: Fingerprint(fingerprint),
            content: ContentHash::from_low_bits(content),
            quarter: Quarter(quarter),
            reversed,
        };
        prop_assert_eq!(Fresh::from_bytes(&fresh.to_bytes()), fresh);
        prop_assert_eq!(fresh.content.bits(), content);
    }

    #[test]
    fn all_of_its_bytes_mean_something(bytes: [u8; 24]) {
        prop_assert_eq!(Fresh::from_bytes(&bytes).to_bytes(), bytes);
    }
}

#[test]
fn the_last_quarter_hour_of_the_last_year_fits() {
    let last = schemas::Timestamp(7_289_654_400 * 1_000_000 - 1);
    assert_eq!(last.rfc3339(), "2200-12-31T23:59:59.999999Z");
    assert!(last.quarter().0 < 1 << 23);
}
