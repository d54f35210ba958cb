//! The scenarios on the embedded store.

use crate::scenarios;

#[tokio::test]
async fn an_older_version_never_replaces_a_newer_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::an_older_version_never_replaces_a_newer_one(&store).await;
}

#[tokio::test]
async fn progress_is_kept_per_view_and_partition() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::progress_is_kept_per_view_and_partition(&store).await;
}

#[tokio::test]
async fn a_day_is_read_whole_over_all_pages() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::a_day_is_read_whole_over_all_pages(&store).await;
}

#[tokio::test]
async fn a_user_is_read_over_years_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::a_user_is_read_over_years_whatever_its_name(&store).await;
}

#[tokio::test]
async fn dead_letters_are_paged_oldest_first_also_without_a_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::dead_letters_are_paged_oldest_first_also_without_a_tenant(&store).await;
}

#[tokio::test]
async fn uploads_are_read_by_day_and_by_id_with_the_ledger_before_the_facts() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::uploads_are_read_by_day_and_by_id_with_the_ledger_before_the_facts(&store).await;
}

#[tokio::test]
async fn a_scan_yields_every_row_with_its_stamp_and_nothing_reserved() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::a_scan_yields_every_row_with_its_stamp_and_nothing_reserved(&store).await;
}

#[tokio::test]
async fn a_large_value_stands_beside_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::a_large_value_stands_beside_small_ones(&store).await;
}

#[tokio::test]
async fn a_version_that_is_no_offset_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::a_version_that_is_no_offset_is_refused(&store).await;
}

#[tokio::test]
async fn progress_of_another_life_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::progress_of_another_life_is_not_believed(&store).await;
}

#[tokio::test]
async fn of_two_lives_the_later_ones_progress_holds_whichever_comes_last() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::of_two_lives_the_later_ones_progress_holds_whichever_comes_last(&store).await;
}

#[tokio::test]
async fn all_users_of_some_days_are_found_in_their_parts() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::all_users_of_some_days_are_found_in_their_parts(&store).await;
}

#[tokio::test]
async fn sketches_of_a_day_lie_apart_from_its_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = views::Store::open(&folder.path().join("views"), 1).await.unwrap();
    scenarios::sketches_of_a_day_lie_apart_from_its_counts(&store).await;
}
