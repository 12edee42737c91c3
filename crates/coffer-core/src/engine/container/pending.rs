//! Small members on their way into a pack.

use crate::format::member::MemberType;
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::error::Result;
use crate::format::block::Encoded;
use crate::format::catalog::Entry;
use crate::format::member::Attributes;
use crate::format::tar;

/// What a member costs in a tar beside its content, about.
pub(super) const HEADING: usize = 2 * tar::RECORD;

/// A pack's block, and where in its tar each member's content begins.
pub(super) type Packed = Result<(Encoded, Vec<u32>)>;

/// A member that waits for its pack.
#[derive(Clone)]
pub(super) struct Pending {
    pub(super) name: Arc<str>,
    pub(super) version: u64,
    pub(super) member_type: MemberType,
    pub(super) attributes: Attributes,
    pub(super) stored: Arc<Vec<u8>>,
    /// How many savepoints had been begun when it began to wait.
    pub(super) begun: u64,
}

/// A pack that is being encoded.
pub(super) struct Inflight {
    pub(super) members: Vec<Pending>,
    pub(super) result: Receiver<Packed>,
}

/// A member on its way from one pack to another: the same version, in another place.
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
