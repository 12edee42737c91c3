//! Small members on their way into a pack.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::error::Result;
use crate::format::block::Encoded;
use crate::format::catalog::Entry;
use crate::format::member::{Attributes, MemberType};
use crate::format::tar;

/// An estimate of the bytes that a member takes in a tar beside its content.
pub(super) const HEADING: usize = 2 * tar::RECORD;

/// An encoded pack, and the offset of each member's content in its tar.
pub(super) type Packed = Result<(Encoded, Vec<u32>)>;

/// A small member that waits for its pack.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) name: Arc<str>,
    pub(super) version: u64,
    pub(super) member_type: MemberType,
    pub(super) attributes: Attributes,
    pub(super) stored: Arc<Vec<u8>>,
    /// The number of savepoints that had been begun when it began to wait.
    pub(super) begun: u64,
}

/// A pack that the pool is encoding.
pub(super) struct Inflight {
    pub(super) members: Vec<Pending>,
    pub(super) result: Receiver<Packed>,
}

/// A member that moves from one pack to another; its version stays.
pub(super) fn repacked(name: Arc<str>, entry: &Entry, stored: Arc<Vec<u8>>) -> Pending {
    Pending {
        name,
        version: entry.version,
        member_type: entry.member_type,
        attributes: entry.attributes,
        stored,
        begun: 0,
    }
}
