//! The small file that the repository carries: `sample/events.csv` and what must come of it.

use super::settings::Settings;
use schemas::Day;

/// The sample's name in the folder `sample`.
pub const SAMPLE_EVENTS: &str = "events.csv";
/// The name of its expectation.
pub const SAMPLE_EXPECTED: &str = "events.expected.tsv";

/// 2025-11-01.
const FIRST_DAY: Day = Day(20_393);

/// The settings of the sample: 12,000 rows of 200 users on the first 14 days of November 2025, with repeats, key conflicts,
/// bad rows, and a column `page` that becomes metadata.
pub fn sample() -> Settings {
    Settings {
        seed: 2025,
        rows: 12_000,
        users: 200,
        first_day: FIRST_DAY,
        quiet_days: 12,
        busy_days: 2,
        busy_share: 0.4,
        invalid: 0.004,
        pages: true,
        ..Settings::default()
    }
}
