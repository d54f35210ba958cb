//! The whole file, streamed row by row, and what must come of it.

use super::expectation::Expectation;
use super::row::{Kind, Rows};
use super::settings::Settings;
use super::text::Text;
use std::io::Write;

/// Bytes that are handed to the writer at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Writes the CSV file of these settings to `out` and says what must come of it. Only the expectation is kept in memory: about
/// 40 bytes for each user, type and day that has events. Fails where the settings cannot be met, or `out` fails.
pub fn write(settings: &Settings, out: &mut dyn Write) -> anyhow::Result<Expectation> {
    settings.check()?;
    let rows = Rows::new(settings);
    let text = Text::new(settings);
    let mut expectation = Expectation::new(settings);
    let mut piece = Vec::with_capacity(PIECE_BYTES + 1024);
    text.put_header(&mut piece);
    for row in 0..settings.rows {
        match rows.kind(row) {
            Kind::Fresh => {
                let content = rows.content(row);
                text.put_row(&mut piece, &content, None);
                expectation.count(&content);
            }
            Kind::Repeat { of, changed } => {
                text.put_row(&mut piece, &rows.repeated(of, changed, row), None);
                expectation.repeat(changed);
            }
            Kind::Invalid(fault) => {
                text.put_row(&mut piece, &rows.content(row), Some(fault));
                expectation.refuse(fault);
            }
        }
        if piece.len() >= PIECE_BYTES {
            out.write_all(&piece)?;
            piece.clear();
        }
    }
    out.write_all(&piece)?;
    out.flush()?;
    Ok(expectation)
}
