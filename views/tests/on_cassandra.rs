//! The scenarios on Cassandra, which stands in for ScyllaDB.

use crate::keyspace::Keyspace;
use crate::scenarios;

#[tokio::test]
async fn an_older_version_never_replaces_a_newer_one() {
    let keyspace = Keyspace::new().await;
    scenarios::an_older_version_never_replaces_a_newer_one(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn progress_is_kept_per_view_and_partition() {
    let keyspace = Keyspace::new().await;
    scenarios::progress_is_kept_per_view_and_partition(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn a_day_is_read_whole_over_all_pages() {
    let keyspace = Keyspace::new().await;
    scenarios::a_day_is_read_whole_over_all_pages(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn a_user_is_read_over_years_whatever_its_name() {
    let keyspace = Keyspace::new().await;
    scenarios::a_user_is_read_over_years_whatever_its_name(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn dead_letters_are_paged_oldest_first_also_without_a_tenant() {
    let keyspace = Keyspace::new().await;
    scenarios::dead_letters_are_paged_oldest_first_also_without_a_tenant(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn uploads_are_read_by_day_and_by_id_with_the_ledger_before_the_facts() {
    let keyspace = Keyspace::new().await;
    scenarios::uploads_are_read_by_day_and_by_id_with_the_ledger_before_the_facts(&keyspace.store().await)
        .await;
    keyspace.remove().await;
}

#[tokio::test]
async fn a_scan_yields_every_row_with_its_stamp_and_nothing_reserved() {
    let keyspace = Keyspace::new().await;
    scenarios::a_scan_yields_every_row_with_its_stamp_and_nothing_reserved(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn a_large_value_stands_beside_small_ones() {
    let keyspace = Keyspace::new().await;
    scenarios::a_large_value_stands_beside_small_ones(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn a_version_that_is_no_offset_is_refused() {
    let keyspace = Keyspace::new().await;
    scenarios::a_version_that_is_no_offset_is_refused(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn progress_of_another_life_is_not_believed() {
    let keyspace = Keyspace::new().await;
    scenarios::progress_of_another_life_is_not_believed(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn of_two_lives_the_later_ones_progress_holds_whichever_comes_last() {
    let keyspace = Keyspace::new().await;
    scenarios::of_two_lives_the_later_ones_progress_holds_whichever_comes_last(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn all_users_of_some_days_are_found_in_their_parts() {
    let keyspace = Keyspace::new().await;
    scenarios::all_users_of_some_days_are_found_in_their_parts(&keyspace.store().await).await;
    keyspace.remove().await;
}

#[tokio::test]
async fn sketches_of_a_day_lie_apart_from_its_counts() {
    let keyspace = Keyspace::new().await;
    scenarios::sketches_of_a_day_lie_apart_from_its_counts(&keyspace.store().await).await;
    keyspace.remove().await;
}
