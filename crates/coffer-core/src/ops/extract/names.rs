//! Which members are extracted, and whether their names can be those of files.

use std::collections::HashSet;
use std::sync::Arc;

use crate::engine::selection::Selection;
use crate::error::{Code, Error, Result};
use crate::format::catalog::Entry;
use crate::format::name;

/// The selection to extract when names are taken relative to `from`.
pub(super) fn selection(what: &Selection, from: Option<&str>) -> Result<Selection> {
    let Some(from) = from else { return Ok(what.clone()) };
    let names = match what {
        Selection::All => return Ok(Selection::Names(vec![from.to_owned()])),
        Selection::Names(names) | Selection::Exactly(names) => names,
    };
    for wanted in names {
        let wanted = name::check(wanted)?;
        let rest = wanted.strip_prefix(from);
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            let message = format!("{wanted:?} is not below {from:?}, where names are taken from");
            return Err(Error::new(Code::InvalidArg, message).of_member(wanted));
        }
    }
    Ok(what.clone())
}

/// Leaves out the member that is the directory that names are taken from: the target stands for it.
pub(super) fn leave_out_directory(members: &mut Vec<(Arc<str>, Entry)>, from: &str) -> Result<()> {
    if members.iter().any(|(name, entry)| **name == *from && !entry.is_directory()) {
        return Err(not_a_directory(from));
    }
    members.retain(|(name, _)| **name != *from);
    Ok(())
}

fn not_a_directory(from: &str) -> Error {
    Error::new(Code::InvalidArg, format!("names are taken from {from:?}, which is a file"))
        .of_member(from)
}

/// Fails on names that do not name a file of that name below the target.
pub(super) fn check_names(members: &[(Arc<str>, Entry)]) -> Result<()> {
    if cfg!(unix) {
        return Ok(());
    }
    let mut names = HashSet::new();
    for (name, _) in members {
        if let Some(fault) = name::windows_fault(name) {
            let message = format!("{name:?} is refused as the name of a file: {fault}");
            return Err(Error::new(Code::UnsafePath, message).of_member(name));
        }
        if !names.insert(name.to_lowercase()) {
            return Err(Error::new(Code::NameCollision, same_name(name)).of_member(name));
        }
    }
    Ok(())
}

pub(super) fn same_name(name: &str) -> String {
    format!(
        "on this file system {name:?} is the name of another member, too: extract them to different directories"
    )
}
