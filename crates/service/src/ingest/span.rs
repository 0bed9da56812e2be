//! How many blocks are asked for at once.

/// The most.
const MOST: u64 = 10_000;
/// To begin with: what every provider of nodes gives.
const FIRST: u64 = 500;

/// The length of the next stretch, which follows what the node gives: twice as many after each answer, until one is
/// refused; half as many after a refusal, and from then on an eighth more after each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    blocks: u64,
    was_refused: bool,
}

impl Default for Span {
    fn default() -> Self {
        Self { blocks: FIRST, was_refused: false }
    }
}

impl Span {
    /// How many blocks; one means that they are taken one by one, by their hashes.
    pub(super) const fn blocks(self) -> u64 {
        self.blocks
    }

    /// The node did not give so many.
    pub(super) fn narrow(&mut self) {
        self.blocks = (self.blocks / 2).max(1);
        self.was_refused = true;
    }

    /// The node gave them.
    pub(super) fn widen(&mut self) {
        let more = if self.was_refused { (self.blocks / 8).max(1) } else { self.blocks };
        self.blocks = self.blocks.saturating_add(more).min(MOST);
    }
}
