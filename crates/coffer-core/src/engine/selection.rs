//! The selection of the members that an operation applies to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::member::no_member;
use crate::error::Result;
use crate::format::catalog::{Catalog, Entry};
use crate::format::name;

/// A selection of members.
#[derive(Debug, Clone)]
pub enum Selection {
    /// All of them.
    All,
    /// These, and what is below those that are directories.
    Names(Vec<String>),
    /// These, and nothing else.
    Exactly(Vec<String>),
}

/// The members of a selection, each once, in the order of their names. A name below another selected
/// one costs only a look-up, so that nested names do not multiply the work.
pub(crate) fn choose(catalog: &Catalog, selection: &Selection) -> Result<Vec<(Arc<str>, Entry)>> {
    let own = |(name, entry): (&str, Entry)| (Arc::<str>::from(name), entry);
    let (names, below) = match selection {
        Selection::All => return Ok(catalog.iter().map(own).collect()),
        Selection::Names(names) => (names, true),
        Selection::Exactly(names) => (names, false),
    };
    let mut chosen = BTreeMap::new();
    for wanted in names {
        let wanted = name::check(wanted)?;
        let member = catalog.get(wanted).map(|entry| own((wanted, entry)));
        if member.is_none() && !(below && catalog.has_below(wanted)) {
            return Err(no_member(wanted));
        }
        chosen.extend(member);
    }
    if below {
        for directory in outermost(names) {
            chosen.extend(catalog.with_prefix(&directory).map(own));
        }
    }
    Ok(chosen.into_iter().collect())
}

/// The names that are below no other one, each with a slash appended: no member is below two of them.
fn outermost(names: &[String]) -> Vec<String> {
    let checked = names.iter().filter_map(|name| name::check(name).ok());
    let mut directories: Vec<String> = checked.map(|name| format!("{name}/")).collect();
    // A directory comes right before what is in it.
    directories.sort_unstable();
    directories.dedup_by(|inner, outer| inner.starts_with(outer.as_str()));
    directories
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lie_in_each_other_do_not_go_through_a_member_twice() {
        let names = ["a/b/c", "/a", "ab", "a", "a/b", "x/y", "a-b", "x/y/z", "ab"];
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(outermost(&names), ["a-b/", "a/", "ab/", "x/y/"]);
    }
}
