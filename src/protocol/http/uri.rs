//! The path of a request as routes see it: [`crate::base::path`], after one scan that finds out
//! whether there is anything to do.

use super::chars::is_plain_path;
use crate::base::path::{self, PathError};

/// As [`path::normalized_path`], and quicker for a path that everybody reads as it stands.
///
/// # Errors
/// [`PathError`]: refuse the request.
pub fn normalized_path<'a>(path: &'a str, scratch: &'a mut String) -> Result<&'a str, PathError> {
    if is_plain_path(path.as_bytes()) { Ok(path) } else { path::normalized_path(path, scratch) }
}
