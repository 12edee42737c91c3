//! Searches for records by their marks, which are in clear.
//!
//! A [`Seek`] finds the parts of commits and the footers in a stretch of a file. Its cost is linear in
//! the length of the stretch, whatever the bytes are: a record in which another mark stands is none
//! (see [`crate::format::record::open`]), so the candidates that are left to be opened overlap by
//! less than a mark.

use std::collections::VecDeque;

use crate::error::Result;
use crate::format::record::{self, ClearFields, MARK, TAG};

/// Bytes of the file that a search reads at once.
const WINDOW: u64 = 1 << 20;

/// The whole marks in `bytes` that have one of `tags`, with their offsets, in order. Tags begin with
/// `c`.
pub(crate) fn marks_in<'a>(
    bytes: &'a [u8],
    tags: &'a [[u8; TAG]],
) -> impl Iterator<Item = (usize, &'a ClearFields)> + 'a {
    bytes.windows(MARK).enumerate().filter_map(|(at, window)| {
        let mark = window.first_chunk::<MARK>().filter(|mark| mark[0] == b'c')?;
        tags.iter().any(|tag| mark.starts_with(tag)).then_some((at, mark))
    })
}

/// Whether the framing around the mark at `at` is that of a record which ends within `bytes`, in a
/// sealed container or an unsealed one.
pub(crate) fn is_in_record(bytes: &[u8], at: usize) -> bool {
    [true, false].into_iter().any(|sealed| {
        let start = at.checked_sub(record::mark_offset(sealed));
        start
            .and_then(|start| Some(start + record::peek(sealed, bytes.get(start..)?)?.1))
            .is_some_and(|end| end <= bytes.len())
    })
}

/// A place where a mark stands, and so perhaps a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    /// Where the record begins.
    pub(crate) offset: u64,
    pub(crate) mark: ClearFields,
    /// The record's length, if its framing gives a possible one.
    len: Option<usize>,
}

impl Candidate {
    /// Its length in the file.
    pub(crate) fn len(&self) -> usize {
        self.len.unwrap_or_default()
    }

    /// Whether it stands at the offset in its mark.
    pub(crate) fn is_home(&self) -> bool {
        record::offset_in(&self.mark) == self.offset
    }
}

/// The direction of a search through a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forwards,
    Backwards,
}

/// A search for records in one stretch of a file.
pub(crate) struct Seek<R> {
    read: R,
    /// Bytes before a mark in its record, and with the mark.
    lead: u64,
    head: u64,
    sealed: bool,
    /// What is still to be searched: records begin and end in it.
    from: u64,
    to: u64,
    /// Where the stretch ends.
    end: u64,
    direction: Direction,
    /// Marks that were read and not looked at yet, in the order of the search.
    ahead: VecDeque<Candidate>,
    /// Backwards: marks that were looked at, up to the first that is behind the mark that is looked
    /// at now. The nearest comes first.
    behind: VecDeque<u64>,
}

impl<R: FnMut(u64, usize) -> Result<Vec<u8>>> Seek<R> {
    /// A search from `from` on, for records that end at or before `to`.
    pub(crate) fn forwards(sealed: bool, from: u64, to: u64, read: R) -> Self {
        Self::new(Direction::Forwards, sealed, from, to, read)
    }

    /// A search from `to` back to `from`.
    pub(crate) fn backwards(sealed: bool, from: u64, to: u64, read: R) -> Self {
        Self::new(Direction::Backwards, sealed, from, to, read)
    }

    fn new(direction: Direction, sealed: bool, from: u64, to: u64, read: R) -> Self {
        let lead = record::mark_offset(sealed) as u64;
        let head = lead + MARK as u64;
        let (ahead, behind) = (VecDeque::new(), VecDeque::new());
        Self { read, lead, head, sealed, from, to, end: to, direction, ahead, behind }
    }

    /// The bytes of a candidate.
    pub(crate) fn bytes(&mut self, candidate: &Candidate) -> Result<Vec<u8>> {
        (self.read)(candidate.offset, candidate.len())
    }

    /// The next record, in the direction of the search, that may be one.
    pub(crate) fn next(&mut self) -> Result<Option<Candidate>> {
        loop {
            let Some(candidate) = self.next_mark()? else { return Ok(None) };
            let end = candidate.offset + candidate.len() as u64;
            let nearest = match self.direction {
                Direction::Forwards => self.nearest_ahead(&candidate, end)?,
                Direction::Backwards => self.nearest_behind(&candidate),
            };
            if candidate.len.is_none() {
                continue;
            }
            let holds_mark = nearest.is_some_and(|mark| mark + MARK as u64 <= end);
            if end <= self.end && !holds_mark {
                return Ok(Some(candidate));
            }
        }
    }

    /// Where the first mark stands that does not overlap a candidate's, forwards; `None` if there is
    /// none before `end`.
    fn nearest_ahead(&mut self, candidate: &Candidate, end: u64) -> Result<Option<u64>> {
        let least = candidate.offset + self.head;
        let mut seen = 0;
        loop {
            while let Some(next) = self.ahead.get(seen) {
                let mark = next.offset + self.lead;
                if mark >= least {
                    return Ok(Some(mark));
                }
                seen += 1;
            }
            if self.from >= end || !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The same backwards, where it has been passed.
    fn nearest_behind(&mut self, candidate: &Candidate) -> Option<u64> {
        let least = candidate.offset + self.head;
        while self.behind.len() > 1 && self.behind.get(self.behind.len() - 2) >= Some(&least) {
            self.behind.pop_back();
        }
        let nearest = self.behind.iter().find(|mark| **mark >= least).copied();
        self.behind.push_front(candidate.offset + self.lead);
        nearest
    }

    fn next_mark(&mut self) -> Result<Option<Candidate>> {
        loop {
            if let Some(candidate) = self.ahead.pop_front() {
                return Ok(Some(candidate));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Searches the next window. Whether there was one.
    fn fill(&mut self) -> Result<bool> {
        if self.from >= self.to {
            return Ok(false);
        }
        let (start, end) = match self.direction {
            Direction::Forwards => {
                let end = self.from.saturating_add(WINDOW).min(self.to);
                (std::mem::replace(&mut self.from, end), end)
            }
            Direction::Backwards => {
                let start = self.to.saturating_sub(WINDOW).max(self.from);
                (start, std::mem::replace(&mut self.to, start))
            }
        };
        // Windows overlap by what a record begins with less one byte, so that none is cut in two.
        let read_to = end.saturating_add(self.head - 1).min(self.end);
        let bytes = (self.read)(start, (read_to - start) as usize)?;
        let mut at = self.lead as usize;
        let mut found = Vec::new();
        while let Some(i) = bytes.get(at..).and_then(record::find_mark) {
            at += i;
            let begin = at - self.lead as usize;
            if let (Some(head), Some(mark)) =
                (bytes.get(begin..), bytes[at..].first_chunk::<MARK>())
            {
                let len = record::peek(self.sealed, head).map(|(_, len)| len);
                found.push(Candidate { offset: start + begin as u64, mark: *mark, len });
            }
            at += 1;
        }
        if self.direction == Direction::Backwards {
            found.reverse();
        }
        self.ahead.extend(found);
        Ok(true)
    }
}
