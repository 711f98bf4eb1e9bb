//! Mount options, `-o a,b=c` (CLI 2.2).

use std::path::PathBuf;

use crate::{
    config::RawConfig,
    failure::{Exit, Failure},
    fuse::KernelFlag,
};

/// What the options ask for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Options {
    /// Nothing may be written.
    pub read_only: bool,
    /// Who else may look into the mount.
    pub access: Access,
    /// Flags for the kernel, such as `nodev`, passed on as they are.
    pub kernel: Vec<KernelFlag>,
    /// Grants do not move to a file that replaces a shared one.
    pub no_tunnel: bool,
    /// Key errors appear as `EACCES` and `EIO`.
    pub posix_errno: bool,
    /// Where the passphrase is.
    pub passfile: Option<PathBuf>,
    /// The identity file.
    pub identity: Option<PathBuf>,
    /// The network, as far as the options name it.
    pub network: RawConfig,
}

/// Who may look into the mount.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Access {
    /// The mounting user alone.
    #[default]
    Owner,
    /// The mounting user and root.
    Root,
    /// Everybody the modes let.
    All,
}

/// What to do about an option nobody knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unknown {
    /// Refuse.
    Refuse,
    /// Ignore, as `mount -s` wants it.
    Ignore,
}

/// Options of mount(8) and fstab(5) that concern the caller, not us.
const IGNORED: &[&str] = &[
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "defaults",
    "async",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "diratime",
    "nodiratime",
    "lazytime",
    "nolazytime",
    "silent",
    "loud",
    "mand",
    "nomand",
    "default_permissions",
];

/// The options a person can choose from, for the error message and the manual.
const KNOWN: &str = "ro, rw, allow_other, allow_root, nodev, nosuid, noexec, noatime, sync, dirsync, \
     tunnel=on|off, errno=keys|posix, passfile=, identity=, ledger=, bootstrap=, \
     threshold=, network=, net_timeout=";

impl Options {
    /// Understands a list of options; a later one wins over an earlier one.
    pub fn parse(
        items: impl IntoIterator<Item = impl AsRef<str>>,
        unknown: Unknown,
    ) -> Result<Self, Failure> {
        let mut options = Self::default();
        for item in items {
            let item = item.as_ref().trim();
            if item.is_empty() || options.take(item)? || unknown == Unknown::Ignore {
                continue;
            }
            return Err(
                Failure::new(Exit::Usage, format!("There is no mount option {item:?}."))
                    .why(format!("Known are {KNOWN}, and those of mount(8).")),
            );
        }
        Ok(options)
    }

    /// Takes one option; false when it is not known.
    fn take(&mut self, item: &str) -> Result<bool, Failure> {
        let (name, value) = match item.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (item, None),
        };
        match value {
            None => Ok(self.take_flag(name)),
            Some(value) => self.take_value(name, value),
        }
    }

    fn take_flag(&mut self, name: &str) -> bool {
        let kernel = match name {
            "dev" => KernelFlag::Dev,
            "nodev" => KernelFlag::NoDev,
            "suid" => KernelFlag::Suid,
            "nosuid" => KernelFlag::NoSuid,
            "exec" => KernelFlag::Exec,
            "noexec" => KernelFlag::NoExec,
            "atime" => KernelFlag::Atime,
            "noatime" => KernelFlag::NoAtime,
            "sync" => KernelFlag::Sync,
            "dirsync" => KernelFlag::DirSync,
            "ro" => return set(&mut self.read_only, true),
            "rw" => return set(&mut self.read_only, false),
            "allow_other" => return set(&mut self.access, Access::All),
            "allow_root" => return set(&mut self.access, Access::Root),
            _ => return IGNORED.contains(&name) || name.starts_with("x-"),
        };
        self.kernel.retain(|flag| !flag.contradicts(kernel));
        self.kernel.push(kernel);
        true
    }

    fn take_value(&mut self, name: &str, value: &str) -> Result<bool, Failure> {
        let network = &mut self.network;
        match (name, value) {
            ("tunnel", "on") => self.no_tunnel = false,
            ("tunnel", "off") => self.no_tunnel = true,
            ("errno", "keys") => self.posix_errno = false,
            ("errno", "posix") => self.posix_errno = true,
            ("passfile", _) => self.passfile = Some(value.into()),
            ("identity", _) => self.identity = Some(value.into()),
            ("ledger", _) => network.ledger = Some(value.into()),
            ("threshold", _) => network.threshold = Some(value.into()),
            ("network", _) => network.network = Some(value.into()),
            ("net_timeout", _) => network.net_timeout = Some(value.into()),
            // An address has no comma: each `bootstrap=` adds one.
            ("bootstrap", _) => network
                .bootstrap
                .get_or_insert_with(Vec::new)
                .push(value.into()),
            ("tunnel" | "errno", _) => {
                return Err(Failure::new(
                    Exit::Usage,
                    format!("The mount option {name} cannot be {value:?}."),
                )
                .why(format!("Known are {KNOWN}.")));
            }
            ("fsname" | "subtype" | "comment", _) => {}
            _ => return Ok(name.starts_with("x-")),
        }
        Ok(true)
    }
}

fn set<T>(place: &mut T, value: T) -> bool {
    *place = value;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, Failure> {
        Options::parse(text.split(','), Unknown::Refuse)
    }

    #[test]
    fn what_mount_hands_over_from_fstab_is_accepted() {
        let options = parse("rw,nosuid,nodev,nofail,user,_netdev,auto,dev,suid,x-systemd.automount,x-gvfs-name=a,comment=b").unwrap();
        assert!(!options.read_only);
        assert_eq!(options.kernel, [KernelFlag::Dev, KernelFlag::Suid]);
    }

    #[test]
    fn our_own_options_are_understood() {
        let options = parse(
            "ro,allow_other,tunnel=off,errno=posix,identity=/i,ledger=file:/l,bootstrap=/ip4/1,bootstrap=/ip4/2",
        )
        .unwrap();
        assert!(options.read_only && options.no_tunnel && options.posix_errno);
        assert_eq!(options.access, Access::All);
        assert_eq!(options.network.bootstrap.unwrap().len(), 2);
    }

    #[test]
    fn an_unknown_option_is_named_unless_mount_is_to_be_sloppy() {
        let failure = parse("ro,quick").unwrap_err();
        assert!(failure.what.contains("quick"));
        assert!(parse("password=x").is_err());
        assert!(parse("errno=sometimes").is_err());
        assert!(Options::parse(["quick"], Unknown::Ignore).is_ok());
    }
}
