//! Limits on the bytes that members of an untrusted coffer may unpack to.

use crate::error::{Code, Error, Result};

/// The most bytes that members may unpack to. `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Of one member.
    pub member: Option<u64>,
    /// Of all members together.
    pub total: Option<u64>,
}

impl Limits {
    /// Checks a member of `size` bytes, with which all members come to `total`.
    ///
    /// # Errors
    /// [`Code::TooLarge`].
    pub(crate) fn check(&self, member: &str, size: u64, total: u64) -> Result<()> {
        let (what, most) = match (self.member, self.total) {
            (Some(most), _) if size > most => (format!("the member {member:?} has"), most),
            (_, Some(most)) if total > most => (format!("with {member:?} the members have"), most),
            _ => return Ok(()),
        };
        let message = format!("{what} more than the {most} bytes that were allowed");
        Err(Error::new(Code::TooLarge, message).of_member(member))
    }

    /// Checks members by their sizes.
    ///
    /// # Errors
    /// [`Code::TooLarge`], which names the first that is too much.
    pub(crate) fn check_all<'a>(
        &self,
        members: impl IntoIterator<Item = (&'a str, u64)>,
    ) -> Result<()> {
        let mut total = 0u64;
        for (member, size) in members {
            total = total.saturating_add(size);
            self.check(member, size, total)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_may_be_reached_and_not_exceeded() {
        let sizes = [("a", 3), ("b", 0), ("c", 4)];
        let code = |member, total| {
            Limits { member, total }.check_all(sizes).err().map(|e| {
                assert_eq!(e.code(), Code::TooLarge);
                e.member().unwrap().to_owned()
            })
        };
        assert_eq!(code(None, None), None);
        assert_eq!(code(Some(4), Some(7)), None);
        assert_eq!(code(Some(3), None), Some("c".to_owned()));
        assert_eq!(code(Some(2), Some(6)), Some("a".to_owned()));
        assert_eq!(code(None, Some(6)), Some("c".to_owned()));
        let most = Limits { member: None, total: Some(u64::MAX - 1) };
        assert!(most.check_all([("a", u64::MAX), ("b", u64::MAX)]).is_err());
    }
}
