//! Extended attributes as `setfattr` and `getfattr` set and get them.

use std::io;
use std::path::Path;

use rustix::fs::XattrFlags;

/// Sets an attribute.
pub fn set(path: &Path, name: &str, value: &str) -> io::Result<()> {
    Ok(rustix::fs::setxattr(
        path,
        name,
        value.as_bytes(),
        XattrFlags::empty(),
    )?)
}

/// Gets an attribute.
pub fn get(path: &Path, name: &str) -> io::Result<String> {
    let mut value = vec![0; 1 << 16];
    let len = rustix::fs::getxattr(path, name, value.as_mut_slice())?;
    value.truncate(len);
    Ok(String::from_utf8_lossy(&value).into_owned())
}

/// The attributes that are listed, sorted.
pub fn list(path: &Path) -> io::Result<Vec<String>> {
    let mut names = vec![0; 1 << 16];
    let len = rustix::fs::listxattr(path, names.as_mut_slice())?;
    let mut names: Vec<_> = names[..len]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// Grants, as `setfattr -n user.kms.grant -v WHAT`.
pub fn grant(path: &Path, what: &str) -> io::Result<()> {
    set(path, "user.kms.grant", what)
}

/// Revokes, as `setfattr -n user.kms.revoke -v WHO`.
pub fn revoke(path: &Path, who: &str) -> io::Result<()> {
    set(path, "user.kms.revoke", who)
}
