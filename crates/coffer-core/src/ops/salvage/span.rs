//! Spans of bytes in a file.

use crate::format::catalog::Block;

/// A span of bytes in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub from: u64,
    /// Behind the last byte.
    pub to: u64,
}

impl Span {
    pub(super) fn of(block: &Block) -> Self {
        Self { from: block.offset, to: block.end() }
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    pub(super) fn len(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// The gaps between `spans` in a file of `size` bytes.
pub(super) fn gaps(mut spans: Vec<Span>, size: u64) -> Vec<Span> {
    spans.sort_unstable();
    let mut gaps = Vec::new();
    let mut at = 0;
    for span in spans {
        if span.from > at {
            gaps.push(Span { from: at, to: span.from.min(size) });
        }
        at = at.max(span.to);
    }
    if at < size {
        gaps.push(Span { from: at, to: size });
    }
    gaps.retain(|gap| gap.from < gap.to);
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_no_span_covers() {
        let span = |from, to| Span { from, to };
        assert_eq!(gaps(vec![], 5), [span(0, 5)]);
        assert_eq!(gaps(vec![span(3, 9), span(0, 1), span(2, 4)], 12), [span(1, 2), span(9, 12)]);
        assert_eq!(gaps(vec![span(0, 90)], 12), []);
        assert_eq!(gaps(vec![span(20, 90)], 12), [span(0, 12)]);
    }
}
