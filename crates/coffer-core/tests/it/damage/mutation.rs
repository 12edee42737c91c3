//! What is done to the bytes of a file.

use std::ops::Range;

/// One change. Pieces are chunks, or frames where nothing is sealed, by their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    Flip { at: usize, bit: u8 },
    Cut(usize),
    Swap(usize, usize),
    Repeat(usize),
    Drop(usize),
}

impl Mutation {
    /// The file with the change made. `pieces` follow each other without a gap.
    pub fn apply(self, file: &[u8], pieces: &[Range<usize>]) -> Vec<u8> {
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        match self {
            Self::Flip { at, bit } => {
                let mut flipped = file.to_vec();
                flipped[at] ^= 1 << bit;
                return flipped;
            }
            Self::Cut(len) => return file[..len].to_vec(),
            Self::Swap(one, other) => order.swap(one, other),
            Self::Repeat(piece) => order.insert(piece, piece),
            Self::Drop(piece) => drop(order.remove(piece)),
        }
        order.into_iter().flat_map(|piece| file[pieces[piece].clone()].iter().copied()).collect()
    }

    /// The pieces that are no longer what or where they were, if the change is one of pieces.
    pub fn pieces(self) -> Vec<usize> {
        match self {
            Self::Flip { .. } | Self::Cut(_) => Vec::new(),
            Self::Swap(one, other) => vec![one, other],
            Self::Repeat(piece) | Self::Drop(piece) => vec![piece],
        }
    }
}

/// Bytes at each end of a sealed text that tell it apart: version, timestamp, nonce, padding, tag.
const SEALED_ENDS: usize = 40;

/// The middle of a sealed text, given the range of the text: flips there differ in nothing but the
/// place, because each fails the same comparison of tags.
pub fn middle(sealed: &Range<usize>) -> Range<usize> {
    let start = sealed.start + SEALED_ENDS;
    start..sealed.end.saturating_sub(SEALED_ENDS).max(start)
}

/// Every bit of a file, and in the middles of its sealed texts one bit of each byte.
pub fn flips(len: usize, middles: &[Range<usize>]) -> impl Iterator<Item = Mutation> {
    (0..len).flat_map(move |at| {
        let in_middle = middles.iter().any(|middle| middle.contains(&at));
        let bits = if in_middle { rotating(at)..=rotating(at) } else { 0..=7 };
        bits.map(move |bit| Mutation::Flip { at, bit })
    })
}

/// One bit of each byte, another for each, and in the middles of sealed texts of every eighth byte.
pub fn one_flip_each(len: usize, middles: &[Range<usize>]) -> impl Iterator<Item = Mutation> {
    (0..len)
        .filter(move |at| at % 8 == 0 || !middles.iter().any(|middle| middle.contains(at)))
        .map(|at| Mutation::Flip { at, bit: rotating(at) })
}

/// The bit of a byte that is flipped where one is.
pub fn rotating(at: usize) -> u8 {
    // Every eighth byte, too, has another bit than the one eight bytes before.
    ((at + at / 8) % 8) as u8
}

/// Every length that is shorter.
pub fn cuts(len: usize) -> impl Iterator<Item = Mutation> {
    (0..len).map(Mutation::Cut)
}

/// Every piece swapped with every other, repeated and dropped.
pub fn moves(pieces: usize) -> impl Iterator<Item = Mutation> {
    (0..pieces).flat_map(move |piece| {
        [Mutation::Repeat(piece), Mutation::Drop(piece)]
            .into_iter()
            .chain((0..piece).map(move |other| Mutation::Swap(other, piece)))
    })
}
