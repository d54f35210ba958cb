//! Receipts come back from clients, so they may hold anything.

use proptest::prelude::*;
use schemas::receipt::Receipt;
use schemas::{Offset, Partition};
use uuid::Uuid;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_receipt_reads_as_it_was_written(id: u128, next in proptest::collection::btree_map(any::<u32>(), 1_u64.., 0..20), cut in any::<prop::sample::Index>()) {
        let mut receipt = Receipt::new(Uuid::from_u128(id));
        for (partition, next) in next {
            receipt.extend(Partition(partition), Offset(next));
        }
        let text = receipt.to_string();
        prop_assert_eq!(text.parse::<Receipt>(), Ok(receipt));
        prop_assert!(text[..cut.index(text.len())].parse::<Receipt>().is_err());
    }

    #[test]
    fn no_text_makes_it_panic(text in "[A-Za-z0-9_=-]{0,200}") {
        let _ = text.parse::<Receipt>();
    }
}
