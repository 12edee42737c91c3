//! Limits on the bytes that members of an untrusted coffer may unpack to.

use std::fmt::Display;

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
    /// Both limits: of each the smaller one.
    pub(crate) fn and(self, other: Self) -> Self {
        let smaller = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { member: smaller(self.member, other.member), total: smaller(self.total, other.total) }
    }

    /// Checks one member of `size` bytes.
    ///
    /// # Errors
    /// [`Code::TooLarge`].
    pub(crate) fn check_one(&self, member: &str, size: u64) -> Result<()> {
        Self { total: None, ..*self }.check(member, size, size)
    }

    /// Checks a member of `size` bytes, with which all members come to `total`.
    ///
    /// # Errors
    /// [`Code::TooLarge`].
    pub(crate) fn check(&self, member: &str, size: u64, total: u64) -> Result<()> {
        self.refuse(member, &size, size, &total, total)
    }

    /// As [`Self::check`], while a member is unpacked whose end has not been reached.
    ///
    /// # Errors
    /// [`Code::TooLarge`].
    pub(crate) fn check_so_far(&self, member: &str, size: u64, total: u64) -> Result<()> {
        let (at_least, in_all) = (format!("at least {size}"), format!("at least {total}"));
        self.refuse(member, &at_least, size, &in_all, total)
    }

    fn refuse(
        &self,
        member: &str,
        size_text: &dyn Display,
        size: u64,
        total_text: &dyn Display,
        total: u64,
    ) -> Result<()> {
        let message = match (self.member, self.total) {
            (Some(most), _) if size > most => {
                format!("{member:?} has {size_text} bytes, and maxMemberSize allows {most}")
            }
            (_, Some(most)) if total > most => format!(
                "with {member:?} the members have {total_text} bytes, and maxTotalSize allows {most}"
            ),
            _ => return Ok(()),
        };
        let message = format!("{message}: allow more if you trust the coffer");
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
        let one = Limits { member: Some(3), total: Some(1) }.check_one("c", 4).unwrap_err();
        assert!(one.message().contains("\"c\" has 4 bytes") && one.message().contains("allows 3"));
        assert!(Limits { member: Some(4), total: Some(1) }.check_one("c", 4).is_ok());
        let (none, some) = (Limits::default(), Limits { member: Some(2), total: Some(9) });
        assert_eq!((none.and(some), some.and(none)), (some, some));
        let other = Limits { member: Some(5), total: Some(6) };
        assert_eq!(some.and(other), Limits { member: Some(2), total: Some(6) });
        let most = Limits { member: None, total: Some(u64::MAX - 1) };
        assert!(most.check_all([("a", u64::MAX), ("b", u64::MAX)]).is_err());
    }
}
