//! The bytes of an input, decompressed: positions here are always those of the content, so that a file and the same
//! file compressed are one thing.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes read at one time.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;
/// What a gzip member (RFC 1952) and a zstd frame (RFC 8878) begin with.
const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// An opened input.
pub(crate) enum Content {
    /// Not compressed, so any place can be gone to.
    Plain(File),
    /// What comes out of a decoder or a pipe.
    Stream(Box<dyn Read + Send>),
}

impl Content {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let magic = magic(&mut file)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(match is_compressed(&magic) {
            true => Self::Stream(decoder(&magic, file)?),
            false => Self::Plain(file),
        })
    }

    /// Reads standard input.
    pub(crate) fn stdin() -> io::Result<Self> {
        Self::stream(io::stdin())
    }

    /// Reads what cannot be gone back in.
    pub(crate) fn stream(mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let magic = magic(&mut source)?;
        let whole = Cursor::new(magic.clone()).chain(source);
        Ok(Self::Stream(decoder(&magic, whole)?))
    }

    /// Passes over `bytes`.
    pub(crate) fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match self {
            Self::Plain(file) => {
                let offset = i64::try_from(bytes).map_err(io::Error::other)?;
                file.seek(SeekFrom::Current(offset)).map(|_| ())
            }
            Self::Stream(reader) => match io::copy(&mut reader.by_ref().take(bytes), &mut io::sink())? {
                skipped if skipped == bytes => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            },
        }
    }

    /// Adds at most [`PIECE_BYTES`] to `buffer`, and says how many; 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let reader: &mut dyn Read = match self {
            Self::Plain(file) => file,
            Self::Stream(reader) => reader,
        };
        reader.take(PIECE_BYTES as u64).read_to_end(buffer)
    }
}

fn is_compressed(magic: &[u8]) -> bool {
    magic.starts_with(GZIP) || magic.starts_with(ZSTD)
}

/// Gives what comes out of `source`, which begins with `magic`.
fn decoder(magic: &[u8], source: impl Read + Send + 'static) -> io::Result<Box<dyn Read + Send>> {
    Ok(if magic.starts_with(GZIP) {
        Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(
            PIECE_BYTES,
            source,
        )))
    } else if magic.starts_with(ZSTD) {
        Box::new(zstd::Decoder::new(source)?)
    } else {
        Box::new(source)
    })
}

/// The first bytes of `source`, as many as tell how it is compressed.
fn magic(source: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut magic = Vec::with_capacity(ZSTD.len());
    source.take(ZSTD.len() as u64).read_to_end(&mut magic)?;
    Ok(magic)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn all(mut content: Content) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while content.read(&mut bytes)? > 0 {}
        Ok(bytes)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn whatever_the_compression_the_content_and_its_places_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let text = b"some text that is long enough to be cut".repeat(20_000);
        let members = [gzip(&text[..1000]), gzip(&text[1000..])].concat();
        let frames = [
            zstd::encode_all(&text[..7], 1).unwrap(),
            zstd::encode_all(&text[7..], 1).unwrap(),
        ]
        .concat();
        for (name, stored) in [("plain", text.clone()), ("gzip", members), ("zstd", frames)] {
            let path = folder.path().join(name);
            std::fs::write(&path, &stored).unwrap();
            assert_eq!(all(Content::open(&path).unwrap()).unwrap(), text, "{name}");
            assert_eq!(
                all(Content::stream(Cursor::new(stored)).unwrap()).unwrap(),
                text,
                "{name}"
            );
            let mut content = Content::open(&path).unwrap();
            content.skip(123_456).unwrap();
            assert_eq!(all(content).unwrap(), text[123_456..], "{name}");
        }
    }

    #[test]
    fn a_file_that_is_cut_short_is_an_error_and_no_end() {
        let whole = gzip(&b"some text that is long enough to be cut".repeat(20));
        let cut = whole[..whole.len() - 9].to_vec();
        assert!(all(Content::stream(Cursor::new(cut)).unwrap()).is_err());
        for short in [&b""[..], b"a", b"\x1f"] {
            assert_eq!(all(Content::stream(Cursor::new(short)).unwrap()).unwrap(), short);
        }
    }
}
