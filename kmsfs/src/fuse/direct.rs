//! Mounting without a helper, which root can. The kernel takes the subtype
//! with the type's name, so that `findmnt -t fuse.kmsfs` finds the mount;
//! fuser's own way would leave it out.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    unistd::{getegid, geteuid},
};

use rustix::thread::{CapabilitySet, capabilities};

use super::{KernelFlag, MountOptions};

/// Mounts at `at` and returns the connection to the kernel; `None` where only
/// the helper may mount.
pub(super) fn try_mount(at: &Path, options: &MountOptions) -> io::Result<Option<OwnedFd>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let device: File = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")?;
    let kind = std::fs::metadata(at)?.mode() & libc::S_IFMT;
    let checks = match (options.allow_other, overrides_permissions()) {
        (true, _) => ",default_permissions,allow_other",
        (false, false) => ",default_permissions",
        // Nobody but root comes in, whom no permission bits stop: the kernel need not ask for them before each call.
        (false, true) => "",
    };
    let data = format!(
        "fd={},rootmode={kind:o},user_id={},group_id={}{checks}",
        device.as_raw_fd(),
        geteuid(),
        getegid()
    );
    let mounted = mount(
        Some(options.source.as_str()),
        at,
        Some("fuse.kmsfs"),
        flags(options),
        Some(data.as_str()),
    );
    match mounted {
        Ok(()) => Ok(Some(device.into())),
        // Root without the right to mount, as in a container: the helper may have it.
        Err(Errno::EPERM) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// How far the kernel reads ahead of a program that reads on, in KiB. Its 128 leave a thread without work between two
/// requests.
const READ_AHEAD: u32 = 1024;

/// Has the kernel read further ahead in the mount, which only root can tell it to. Without it reading is slower, and
/// nothing else.
pub(super) fn read_further_ahead(at: &Path) {
    let told = std::fs::metadata(at).and_then(|meta| {
        let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
        let knob = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
        std::fs::write(knob, READ_AHEAD.to_string())
    });
    if let Err(error) = told {
        tracing::debug!(%error, "the kernel reads ahead no further than usual");
    }
}

/// Whether this process may read and write whatever permission bits say.
fn overrides_permissions() -> bool {
    capabilities(None).is_ok_and(|sets| {
        sets.effective
            .contains(CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER)
    })
}

fn flags(options: &MountOptions) -> MsFlags {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, options.read_only);
    for flag in &options.kernel {
        match flag {
            KernelFlag::Dev => flags.remove(MsFlags::MS_NODEV),
            KernelFlag::Suid => flags.remove(MsFlags::MS_NOSUID),
            KernelFlag::NoDev => flags.insert(MsFlags::MS_NODEV),
            KernelFlag::NoSuid => flags.insert(MsFlags::MS_NOSUID),
            KernelFlag::Exec => flags.remove(MsFlags::MS_NOEXEC),
            KernelFlag::NoExec => flags.insert(MsFlags::MS_NOEXEC),
            KernelFlag::Atime => flags.remove(MsFlags::MS_NOATIME),
            KernelFlag::NoAtime => flags.insert(MsFlags::MS_NOATIME),
            KernelFlag::Sync => flags.insert(MsFlags::MS_SYNCHRONOUS),
            KernelFlag::DirSync => flags.insert(MsFlags::MS_DIRSYNC),
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_honours_no_devices_and_no_set_id_bits_unless_asked() {
        let mut options = MountOptions::default();
        assert_eq!(flags(&options), MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
        options.kernel = vec![KernelFlag::Suid, KernelFlag::NoExec];
        assert_eq!(flags(&options), MsFlags::MS_NODEV | MsFlags::MS_NOEXEC);
    }
}
