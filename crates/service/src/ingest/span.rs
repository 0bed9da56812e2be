//! How many blocks are asked for at once.

/// The most.
const MOST: u64 = 10_000;
/// To begin with: what every provider of nodes gives.
const FIRST: u64 = 500;

/// The length of the next stretch, which follows what the node gives: half after a refusal, and more again by an eighth
/// after each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(u64);

impl Default for Span {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Span {
    /// How many blocks; one means that they are taken one by one, by their hashes.
    #[must_use]
    pub const fn blocks(self) -> u64 {
        self.0
    }

    /// The node did not give so many.
    pub fn narrow(&mut self) {
        self.0 = (self.0 / 2).max(1);
    }

    /// The node gave them.
    pub fn widen(&mut self) {
        self.0 = self.0.saturating_add((self.0 / 8).max(1)).min(MOST);
    }
}
