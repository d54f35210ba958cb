//! One file out of a ZIP archive that the program carries: stored or deflated, of known size, without encryption. What is not so is not
//! found. The layout is that of APPNOTE.TXT 6.3, 4.3.

use flate2::read::DeflateDecoder;
use std::io::Read;

/// The largest file that is taken out, in bytes: four times what the largest has.
const FILE_BYTES: u64 = 6 * 1024 * 1024;
/// Before the record at the archive's end.
const END: &[u8] = b"PK\x05\x06";
/// Before each entry of the list of files.
const ENTRY: &[u8] = b"PK\x01\x02";
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// The content of the file whose name, behind the folder that all are in, is `name`.
pub(super) fn find(archive: &[u8], name: &str) -> Option<Vec<u8>> {
    let end = archive.windows(END.len()).rposition(|bytes| bytes == END)?;
    let mut at = usize::try_from(number32(archive, end + 16)?).ok()?;
    while archive.get(at..)?.starts_with(ENTRY) {
        let lengths = [28, 30, 32].map(|place| number16(archive, at + place).map(usize::from));
        let [Some(name_bytes), Some(extra), Some(comment)] = lengths else {
            return None;
        };
        let names = at + 46..at + 46 + name_bytes;
        let found = std::str::from_utf8(archive.get(names)?).ok()?;
        if found
            .split_once('/')
            .is_some_and(|(_, behind)| name.strip_prefix('/') == Some(behind))
        {
            return content(archive, at);
        }
        at += 46 + name_bytes + extra + comment;
    }
    None
}

/// The content of the file whose entry is at a place.
fn content(archive: &[u8], at: usize) -> Option<Vec<u8>> {
    let packed_bytes = usize::try_from(number32(archive, at + 20)?).ok()?;
    let head = usize::try_from(number32(archive, at + 42)?).ok()?;
    let names = usize::from(number16(archive, head + 26)?) + usize::from(number16(archive, head + 28)?);
    let begin = head + 30 + names;
    let packed = archive.get(begin..begin + packed_bytes)?;
    match number16(archive, at + 10)? {
        STORED => Some(packed.to_vec()),
        DEFLATED => {
            let mut bytes = Vec::new();
            DeflateDecoder::new(packed)
                .take(FILE_BYTES)
                .read_to_end(&mut bytes)
                .ok()?;
            Some(bytes)
        }
        _ => None,
    }
}

fn number16(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}
