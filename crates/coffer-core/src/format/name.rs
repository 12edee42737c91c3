//! The names of members: UTF-8, POSIX, relative.

use crate::error::{Code, Error, Result};

/// The most bytes of a name. PyCoffer unpacks to a directory, so its paths must stay below the limit of
/// most systems, 4,096 bytes.
pub(crate) const MAX_NAME: usize = 3_800;
/// The most bytes of a component: the limit of most file systems.
pub(crate) const MAX_COMPONENT: usize = 255;
/// The directory in which plugins keep their records.
const PLUGINS: &str = ".plugins";

/// Checks a name and drops one leading `/`, as PyCoffer does.
///
/// # Errors
/// [`Code::InvalidArg`] for a name that is empty, too long, or has a component that is empty,
/// `.`, `..`, too long or contains NUL.
pub(crate) fn check(name: &str) -> Result<&str> {
    let relative = name.strip_prefix('/').unwrap_or(name);
    match fault(relative) {
        None => Ok(relative),
        Some(fault) => Err(Error::new(
            Code::InvalidArg,
            format!("{} is not a member name: {fault}", preview(name)),
        )
        .of_member(&name.chars().take(100).collect::<String>())),
    }
}

/// What is wrong with a name, if anything is.
#[must_use]
pub(crate) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > MAX_NAME {
        return Some("it is longer than 3,800 bytes");
    }
    if is_plain(name.as_bytes()) {
        return None;
    }
    name.split('/').find_map(|component| match component {
        "" => Some("it has an empty component"),
        "." | ".." => Some("it has a component . or .."),
        c if c.len() > MAX_COMPONENT => Some("it has a component longer than 255 bytes"),
        c if c.contains('\0') => Some("it contains NUL"),
        _ => None,
    })
}

/// Whether a name has nothing that may be a fault: no more bytes than a component, no NUL, and no
/// component that is empty or begins with a dot. An opening checks every name, and few need more.
fn is_plain(name: &[u8]) -> bool {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return false };
    let mut doubtful = name.len() > MAX_COMPONENT || *first == b'.' || *first == b'/';
    doubtful |= *last == b'/' || *last == 0;
    for (a, b) in name.iter().zip(name.get(1..).unwrap_or_default()) {
        doubtful |= (*a == 0) | ((*a == b'/') & ((*b == b'/') | (*b == b'.')));
    }
    !doubtful
}

/// The directory that salvage keeps members apart in. Where commits name members in it, it is
/// `.salvaged-2`, and so on.
pub const APART: &str = ".salvaged";

/// Whether a name is that of the plugins' directory, or below it, also within salvage's directory
/// [`APART`].
#[must_use]
pub(crate) fn is_of_plugins(name: &str) -> bool {
    let kept = match name.split_once('/') {
        Some((first, rest)) if is_apart(first) => rest,
        _ => name,
    };
    kept.strip_prefix(PLUGINS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_apart(directory: &str) -> bool {
    let number = |rest: &str| rest.strip_prefix('-').is_some_and(|n| n.parse::<u64>().is_ok());
    directory.strip_prefix(APART).is_some_and(|rest| rest.is_empty() || number(rest))
}

/// The reason why a name cannot be that of a file on Windows, if there is one: there `a:b` is a stream
/// of `a`, `c:a` is on another drive, `aux.txt` is a device, and `a.` is `a`.
#[must_use]
pub(crate) fn windows_fault(name: &str) -> Option<&'static str> {
    name.split('/').find_map(|component| {
        let stem = component.split('.').next().unwrap_or_default().trim_end_matches(' ');
        if component.contains(|c: char| c < ' ' || r#"<>:"|?*\"#.contains(c)) {
            Some("it has a character that no file name has on Windows")
        } else if component.ends_with(['.', ' ']) {
            Some("it has a component that ends in a dot or a space")
        } else if is_device(&stem.to_uppercase()) {
            Some("it names a device of Windows")
        } else {
            None
        }
    })
}

fn is_device(stem: &str) -> bool {
    let port = stem.strip_prefix("COM").or_else(|| stem.strip_prefix("LPT"));
    let mut number = port.unwrap_or_default().chars();
    matches!(stem, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || matches!(number.next(), Some('0'..='9' | '¹' | '²' | '³')) && number.next().is_none()
}

/// The directories above a name: `a` and `a/b` for `a/b/c`.
pub(crate) fn parents(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').filter_map(move |(at, _)| name.get(..at))
}

fn preview(name: &str) -> String {
    if name.len() <= 100 {
        return format!("{name:?}");
    }
    format!("{:?}…", name.chars().take(100).collect::<String>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_name_that_needs_no_closer_look_has_no_fault(name in "[ab./\0é]{0,8}", long in 0usize..300) {
            for name in [name.clone(), format!("{name}{}", "x".repeat(long))] {
                let faulty = name.is_empty()
                    || name.split('/').any(|c| matches!(c, "" | "." | "..") || c.len() > 255)
                    || name.contains('\0');
                proptest::prop_assert_eq!(fault(&name).is_some(), faulty);
            }
        }
    }

    #[test]
    fn a_leading_slash_is_dropped_and_nothing_else_is_changed() {
        assert_eq!(check("/a/ b").unwrap(), "a/ b");
        assert_eq!(check("ключ/鍵").unwrap(), "ключ/鍵");
    }

    #[test]
    fn what_plugins_keep_is_known_also_where_salvage_keeps_it_apart() {
        for name in
            [".plugins", ".plugins/password", ".salvaged/.plugins/x", ".salvaged-2/.plugins"]
        {
            assert!(is_of_plugins(name), "{name}");
        }
        for name in
            [".pluginsx", "a/.plugins", ".salvaged", ".salvagedx/.plugins", ".salvaged-/.plugins"]
        {
            assert!(!is_of_plugins(name), "{name}");
        }
    }

    #[test]
    fn names_that_no_file_system_takes_are_refused() {
        let long = "x".repeat(256);
        let longer = "x/".repeat(1_950) + "x";
        for name in ["", "/", "//a", "a//b", "a/", ".", "a/../b", "..", "a\0b", &long, &longer] {
            assert_eq!(check(name).unwrap_err().code(), Code::InvalidArg, "{name:?}");
        }
    }

    #[test]
    fn names_that_mean_something_else_on_windows_are_known() {
        for name in [
            "a\\b",
            "..\\a",
            "c:a",
            "a:b",
            "C:/a",
            "a.",
            "a /b",
            "...",
            "aux",
            "Nul.txt",
            "x/COM1.tar.gz",
            "lpt³",
            "con .a",
            "CONIN$",
            "a\tb",
            "a?",
            "a*",
            "a|b",
            "<a>",
            "\"a\"",
        ] {
            assert!(windows_fault(name).is_some(), "{name:?}");
        }
        for name in ["a", ".a", "a.b", "com", "com10", "console", "null", "aux1", "a b", "语/é.txt"]
        {
            assert_eq!(windows_fault(name), None, "{name:?}");
        }
    }

    #[test]
    fn parents_are_every_directory_above() {
        assert_eq!(parents("a/b/c").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(parents("a").count(), 0);
    }
}
