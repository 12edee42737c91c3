//! Members that could not be extracted, while others were.

use std::path::Path;

use crate::error::{Code, Error};
use crate::io::target_tree;

/// How many members an error names.
const NAMED: usize = 20;

/// The error about the members that could not be extracted, if there are any.
pub(super) fn failure(
    mut failed: Vec<(String, Error)>,
    target: &Path,
    files: u64,
    bytes: u64,
) -> Option<Error> {
    failed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (_, first) = failed.first()?;
    let names: Vec<_> = failed.iter().take(NAMED).map(|(name, _)| format!("{name:?}")).collect();
    let more = match failed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "{}. Not extracted: {}{more}. Everything else was written to {}: {files} files, {bytes} bytes",
        first.message(),
        names.join(", "),
        target.display()
    );
    Some(first.clone().saying(message))
}

/// Whether an error is about one member, so that others may still be extracted.
pub(super) fn is_of_one_member(error: &Error) -> bool {
    use std::io::ErrorKind;
    match (error.code(), error.errno()) {
        (Code::Corrupt, _) => true,
        (Code::Io, Some(errno)) if target_tree::is_illegal_sequence(errno) => true,
        (Code::Io, Some(errno)) => {
            matches!(
                std::io::Error::from_raw_os_error(errno).kind(),
                ErrorKind::PermissionDenied
                    | ErrorKind::InvalidFilename
                    | ErrorKind::InvalidInput
                    | ErrorKind::Unsupported
            )
        }
        _ => false,
    }
}
