//! What measures Tidemark: made-up events, and what must come of them.

/// Makes events, and says what must come of them.
pub mod generate;
