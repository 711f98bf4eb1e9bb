//! The kernel's mount table, `/proc/self/mountinfo`.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

/// The type our mounts have in the table.
pub const FS_TYPE: &str = "fuse.kmsfs";

/// What stands before the store's path in the source column.
pub const SOURCE_PREFIX: &str = "kmsfs@";

/// One mount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Where it is mounted.
    pub point: PathBuf,
    /// The file system type.
    pub fs_type: String,
    /// What is mounted.
    pub source: OsString,
}

impl Entry {
    /// Whether it is one of ours.
    pub fn is_kmsfs(&self) -> bool {
        // Without fusermount3 a kernel may show the type alone.
        let type_matches = [FS_TYPE, "fuse"].contains(&self.fs_type.as_str());
        type_matches && self.source.as_bytes().starts_with(SOURCE_PREFIX.as_bytes())
    }

    /// The store that is mounted, if it is one of ours.
    pub fn store(&self) -> Option<PathBuf> {
        let source = self.source.as_bytes();
        let path = source.strip_prefix(SOURCE_PREFIX.as_bytes())?;
        self.is_kmsfs()
            .then(|| PathBuf::from(OsString::from_vec(path.to_vec())))
    }
}

/// Reads the table. Later entries cover earlier ones at the same place.
pub fn read() -> std::io::Result<Vec<Entry>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// The mount of ours at exactly this place.
pub fn kmsfs_at(point: &Path) -> Option<Entry> {
    read()
        .ok()?
        .into_iter()
        .rev()
        .find(|entry| entry.point == point)
        .filter(Entry::is_kmsfs)
}

/// The mount of ours that holds a path, and the path inside it.
pub fn kmsfs_holding(path: &Path) -> Option<(Entry, PathBuf)> {
    let entry = read()
        .ok()?
        .into_iter()
        .rev()
        .filter(|entry| path.starts_with(&entry.point))
        .max_by_key(|entry| entry.point.components().count())
        .filter(Entry::is_kmsfs)?;
    let inside = path.strip_prefix(&entry.point).ok()?.to_path_buf();
    Some((entry, inside))
}

fn parse(table: &[u8]) -> Vec<Entry> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect()
}

/// `id parent dev root POINT options [optional…] - TYPE SOURCE super-options`
fn parse_line(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = fields.nth(4)?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    Some(Entry {
        point: PathBuf::from(unescape(point)),
        fs_type: String::from_utf8_lossy(rest.next()?).into_owned(),
        source: unescape(rest.next()?),
    })
}

/// Blanks, tabs, newlines and backslashes stand as `\` and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = &after[3..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_of_ours_is_recognised_with_its_store() {
        let table = b"36 35 98:0 / /mnt/a\\040b rw,noatime master:1 - fuse.kmsfs kmsfs@/s/a\\040b.kmsfs rw\n\
                      37 35 98:0 / /mnt/c rw - ext4 /dev/sda rw\n";
        let entries = parse(table);
        assert_eq!(entries[0].point, Path::new("/mnt/a b"));
        assert_eq!(
            entries[0].store().as_deref(),
            Some(Path::new("/s/a b.kmsfs"))
        );
        assert!(!entries[1].is_kmsfs());
        assert_eq!(entries[1].store(), None);
    }

    #[test]
    fn the_table_of_this_machine_is_understood() {
        assert!(
            read()
                .unwrap()
                .iter()
                .any(|entry| entry.point == Path::new("/proc"))
        );
    }
}
