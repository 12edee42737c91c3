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

/// Every bit of a file.
pub fn flips(len: usize) -> impl Iterator<Item = Mutation> {
    (0..len).flat_map(|at| (0..8).map(move |bit| Mutation::Flip { at, bit }))
}

/// One bit of each byte, another for each.
pub fn one_flip_each(len: usize) -> impl Iterator<Item = Mutation> {
    (0..len).map(|at| Mutation::Flip { at, bit: (at % 8) as u8 })
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
