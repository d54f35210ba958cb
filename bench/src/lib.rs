//! What measures Tidemark: made-up events, and what must come of them.

/// Makes events, and says what must come of them.
pub mod generate;
/// librdkafka with nothing around it.
pub mod bare;
/// What a process cost.
pub mod cost;
/// The measured runs.
pub mod measure;
