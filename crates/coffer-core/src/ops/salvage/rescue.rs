//! The rescue: the new coffer as it fills, and the report on it.

use crate::format::member::MemberType;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::APART;
use super::history::RecoveredState;
use super::report::{Lost, Reason, Salvaged};
use super::span::Span;
use crate::coffer::Notice;
use crate::engine::container::{Container, Raw};
use crate::error::{Code, Error, Result};
use crate::format::member::Attributes;
use crate::format::name;
use crate::io::lock_set::Locks;
use crate::progress::{CallObserver, Report};

/// The outcome of bringing a member over.
pub(super) enum PutOutcome {
    Done,
    /// The member could not be read, or the new coffer cannot have it.
    Failed(Error),
}

/// A salvage under way.
pub(super) struct Rescue<'a> {
    pub(super) container: Container,
    pub(super) watch: &'a CallObserver,
    salvaged: Salvaged,
    lost: BTreeMap<Arc<str>, Lost>,
    /// Unverified members get the names that they claim.
    claimed_names: bool,
    /// The directory of unverified members, once one has been placed.
    apart: Option<String>,
    report: Report,
    /// The first error about a wrong key.
    refusal: Option<Error>,
}

impl<'a> Rescue<'a> {
    pub(super) fn new(container: Container, claimed_names: bool, watch: &'a CallObserver) -> Self {
        let salvaged = Salvaged::default();
        let (lost, report) = (BTreeMap::new(), Report::default());
        Self { container, watch, salvaged, lost, claimed_names, apart: None, report, refusal: None }
    }

    /// Reports how much of the coffer's history was read.
    pub(super) fn begin(&mut self, state: &RecoveredState) {
        self.salvaged.commit = state.commit;
        self.salvaged.complete = state.complete;
        if state.complete {
            let bytes = state.catalog.iter().map(|(_, entry)| entry.size);
            self.report.total_bytes = Some(bytes.fold(0, u64::saturating_add));
        }
        match state.commit {
            None => self.notice(
                "no-commit",
                "no commit could be read: members are what the blocks themselves say".to_owned(),
            ),
            Some(commit) if !state.complete => self.notice(
                "damaged-commit",
                format!(
                    "commits are damaged; the newest that could be read is {}. What the others said is not known",
                    commit.generation
                ),
            ),
            Some(_) => {}
        }
    }

    pub(super) fn notice(&mut self, code: &'static str, message: String) {
        self.salvaged.notices.push(Notice { code, message });
    }

    /// Members brought over so far.
    pub(super) fn count(&self) -> u64 {
        self.report.members
    }

    /// Whether nothing was brought over.
    pub(super) fn is_empty(&self) -> bool {
        self.container.view.read().catalog.len() == 0
    }

    /// Notes whether all of the file could be read.
    pub(super) fn complete(&mut self, complete: bool) {
        self.salvaged.complete = complete;
    }

    /// The first error about a wrong key, if there was one.
    pub(super) fn refusal(&self) -> Option<Error> {
        self.refusal.clone()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.container.view.read().catalog.get(name).is_some()
    }

    /// The name of an unverified member in the new coffer: below a directory that has no members that
    /// commits name. A person who chose contents may have forged the member, so it must not get a
    /// name that users trust.
    pub(super) fn place(&mut self, claimed: &str) -> String {
        if self.claimed_names {
            return claimed.to_owned();
        }
        let directory = self.apart.get_or_insert_with(|| free_directory(&self.container));
        format!("{directory}/{claimed}")
    }

    /// Whether an unverified member is superseded: one of its name that a commit names was brought over,
    /// or an unverified one that is newer.
    pub(super) fn is_known(&mut self, claimed: &str) -> bool {
        self.has(claimed) || {
            let placed = self.place(claimed);
            self.has(&placed)
        }
    }

    /// Brings a small member over. `stored` are its bytes after the member layer.
    pub(super) fn small(
        &mut self,
        name: &str,
        member_type: MemberType,
        size: u64,
        attributes: Attributes,
        stored: Vec<u8>,
    ) -> Result<PutOutcome> {
        self.watch.cancel.check()?;
        let put = checked(name)
            .and_then(|()| self.container.put_small(name, member_type, size, attributes, stored));
        self.put(name, size, put)
    }

    /// Brings a large member over; `next` gives its pieces.
    pub(super) fn large(
        &mut self,
        name: &str,
        attributes: Attributes,
        mut next: impl FnMut() -> Option<Raw>,
    ) -> Result<PutOutcome> {
        let cancel = self.watch.cancel.clone();
        let put = checked(name).and_then(|()| {
            self.container.put_large(name, attributes, &[], || {
                cancel.check()?;
                Ok(next())
            })
        });
        let size = self.size_of(name);
        self.put(name, size, put)
    }

    /// Notes the outcome of putting a member. Errors about the member are an outcome; errors about the
    /// new file end the salvage.
    pub(super) fn put(&mut self, name: &str, size: u64, put: Result<()>) -> Result<PutOutcome> {
        match put {
            Ok(()) => {
                self.lost.remove(name);
                self.report.members += 1;
                self.report.bytes = self.report.bytes.saturating_add(size);
                self.report.name = Some(name.to_owned());
                self.watch.report(|| self.report.clone());
                Ok(PutOutcome::Done)
            }
            Err(e)
                if matches!(
                    e.code(),
                    Code::Corrupt
                        | Code::MemberExists
                        | Code::IsDirectory
                        | Code::UnsafePath
                        | Code::WrongKey
                ) =>
            {
                if e.code() == Code::WrongKey {
                    self.refusal.get_or_insert(e.clone());
                }
                Ok(PutOutcome::Failed(e))
            }
            Err(e) => Err(e),
        }
    }

    /// Removes a member that was brought over.
    pub(super) fn take_back(&mut self, name: &str) -> Result<()> {
        self.container.remove(name)
    }

    /// The size of a member that was brought over.
    pub(super) fn size_of(&self, name: &str) -> u64 {
        self.container.view.read().catalog.get(name).map_or(0, |entry| entry.size)
    }

    /// Whether a directory exists, as a member or by a member in it.
    pub(super) fn implies(&self, name: &str) -> bool {
        let view = self.container.view.read();
        view.catalog.has_below(name) || view.catalog.get(name).is_some_and(|e| e.is_directory())
    }

    /// Notes that no commit authenticates a member that was brought over.
    pub(super) fn unverified(&mut self, claimed: &str) {
        self.lost.remove(claimed);
        let placed = self.place(claimed);
        self.salvaged.unverified.push(placed);
        self.salvaged.apart.clone_from(&self.apart);
    }

    /// The same for a member that was put under its claimed name.
    pub(super) fn unverified_in_place(&mut self, name: &str) {
        self.salvaged.unverified.push(name.to_owned());
    }

    /// Notes that a member is lost, unless it is brought over later.
    pub(super) fn lose(&mut self, name: &str, reason: Reason, error: &Error, damage: Vec<Span>) {
        let message = error.message().to_owned();
        let lost = Lost { name: name.to_owned(), reason, message, damage };
        self.lost.entry(name.into()).or_insert(lost);
    }

    pub(super) fn nameless(&mut self, bytes: u64) {
        self.salvaged.nameless = self.salvaged.nameless.saturating_add(bytes);
    }

    /// Commits the new coffer, and gives the report.
    pub(super) fn finish(mut self) -> Result<Salvaged> {
        self.watch.cancel.check()?;
        let path = self.container.source.path.clone();
        self.container.commit(true, &Locks::none(&path))?;
        let Self { mut salvaged, lost, container, .. } = self;
        for (_, entry) in container.view.read().catalog.iter() {
            salvaged.members += 1;
            salvaged.bytes = salvaged.bytes.saturating_add(entry.size);
        }
        salvaged.lost = lost.into_values().collect();
        salvaged.unverified.sort_unstable();
        salvaged.unverified.dedup();
        Ok(salvaged)
    }
}

/// A name for the directory of unverified members that is not in use: the coffer may be the result of a
/// salvage itself.
fn free_directory(container: &Container) -> String {
    let view = container.view.read();
    let free = |name: &String| !view.catalog.has_below(name) && view.catalog.get(name).is_none();
    let numbered = (2u64..).map(|n| format!("{APART}-{n}"));
    std::iter::once(APART.to_owned()).chain(numbered).find(free).unwrap_or_default()
}

/// Checks a name in the new coffer, which may be too long in the directory of unverified members.
pub(super) fn checked(name: &str) -> Result<()> {
    name::fault(name).map_or(Ok(()), |fault| {
        let message = format!("its name in the new coffer is refused: {fault}");
        Err(Error::new(Code::UnsafePath, message))
    })
}
