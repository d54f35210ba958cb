//! A short hash of what a question is, or of what an answer was made of. Each part is told apart from the next.

/// Parts taken in so far.
#[derive(Debug)]
pub(crate) struct Digest(blake3::Hasher);

impl Digest {
    /// Begins with what is hashed: two things of different names never have the same hash.
    pub(crate) fn of(name: &str) -> Self {
        Self(blake3::Hasher::new()).and(name)
    }

    /// Takes in a further part.
    pub(crate) fn and(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// The hash, in so many bytes.
    pub(crate) fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.finalize_xof().fill(&mut bytes);
        bytes
    }
}
