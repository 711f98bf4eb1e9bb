//! Mounting as somebody else than root does it: through fusermount3 and through /etc/fstab.
//!
//! The other person is `nobody`, with a home of her own. Device, configuration and mount table are replaced in a mount
//! namespace, so that nothing depends on how the machine is set up and nothing of it is changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use kms_tests::{done_by_root, program};
use tempfile::TempDir;

/// What every script begins with: `her` and `other` run a command as the one user and as another one; `setup.sh` has to
/// end well line by line.
const SETUP: &str = r#"
set -eu
cd "$ROOT"
mount -t tmpfs -o mode=0755 tmpfs dev
mknod -m 666 dev/fuse c 10 229
mount --bind dev/fuse /dev/fuse
mount --bind fuse.conf /etc/fuse.conf
mount --bind fstab /etc/fstab
mount --bind bin/kmsfs "$(readlink -f /sbin/mount.fuse)"
export PATH="$ROOT/bin:$PATH"
as() { user=$1; shift; setpriv --reuid "$user" --regid "$user" --clear-groups env -i PATH="$PATH" HOME="$ROOT/home" \
    KMSFS_HOME="$ROOT/home/kmsfs" KMSFS_PASSFILE="$ROOT/home/passphrase" "$@"; }
her() { as 65534 "$@"; }
other() { as 1 "$@"; }
refused() { says=$1; shift; if "$@" >said 2>&1; then echo "not refused: $*"; exit 1; fi; grep -q "$says" said || { cat said; exit 1; }; }
ended() { for _ in $(seq 600); do pgrep -u 65534 -f "$ROOT/home/secure.kmsfs" >/dev/null || return 0; sleep 0.1; done; echo "the process stays"; exit 1; }
her kmsfs init home/secure >/dev/null
"#;

struct Machine(TempDir);

impl Machine {
    fn new(fuse_conf: &str, fstab: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let open = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        open(root.path(), 0o755);
        for dir in ["dev", "bin", "home"] {
            fs::create_dir(at(dir)).unwrap();
            open(&at(dir), 0o755);
        }
        fs::copy(program("kmsfs"), at("bin/kmsfs")).unwrap();
        open(&at("bin/kmsfs"), 0o755);
        fs::write(at("fuse.conf"), fuse_conf).unwrap();
        let here = root.path().to_str().unwrap();
        fs::write(at("fstab"), fstab.replace("ROOT", here)).unwrap();
        fs::write(at("home/passphrase"), "of nobody\n").unwrap();
        for path in [at("home"), at("home/passphrase")] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
        }
        Self(root)
    }

    #[track_caller]
    fn run(&self, script: &str) {
        let out = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-xc"])
            .arg(format!("{SETUP}{script}"))
            .env("ROOT", self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}\n{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

#[test]
fn somebody_who_is_not_root_mounts_and_unmounts() {
    if done_by_root() {
        return;
    }
    Machine::new("", "").run(
        r#"
her kmsfs mount home/secure
her sh -c 'echo mine > home/secure/file; mkdir home/secure/dir; chmod 644 home/secure/file'
[ "$(her cat home/secure/file)" = mine ]
grep -q "fuse.kmsfs.*user_id=65534" /proc/self/mounts
refused "ermission denied" other cat home/secure/file
refused "ermission denied" cat home/secure/file
refused "." other fusermount3 -u home/secure
refused "." other kmsfs umount home/secure
her cat home/secure/file
her kmsfs umount home/secure
ended
her kmsfs mount home/secure
[ "$(her cat home/secure/file)" = mine ]
her fusermount3 -u home/secure
ended
her kmsfs fsck home/secure.kmsfs
"#,
    );
}

#[test]
fn others_see_a_mount_only_where_the_administrator_allows_it() {
    if done_by_root() {
        return;
    }
    Machine::new("", "").run(
        r#"
refused user_allow_other her kmsfs mount -o allow_other home/secure
her kmsfs mount home/secure
her kmsfs umount home/secure
"#,
    );
    Machine::new("user_allow_other\n", "").run(
        r#"
her kmsfs mount -o allow_other home/secure
her sh -c 'echo open > home/secure/open; echo closed > home/secure/closed; chmod 644 home/secure/open; chmod 600 home/secure/closed'
[ "$(other cat home/secure/open)" = open ]
refused "ermission denied" other cat home/secure/closed
refused "ermission denied" other touch home/secure/new
her kmsfs umount home/secure
"#,
    );
}

#[test]
fn a_line_in_fstab_mounts_for_root_and_for_the_user() {
    if done_by_root() {
        return;
    }
    let line = "ROOT/home/secure.kmsfs ROOT/home/secure fuse.kmsfs noauto,user,nofail,_netdev,\
                identity=ROOT/home/kmsfs/identity,passfile=ROOT/home/passphrase 0 0\n";
    Machine::new("", line).run(
        r#"
her mkdir home/secure
her mount "$ROOT/home/secure"
her sh -c 'echo mine > home/secure/file'
grep -q "fuse.kmsfs.*user_id=65534" /proc/self/mounts
her umount "$ROOT/home/secure"
ended
export HOME="$ROOT/root" KMSFS_HOME="$ROOT/root"
mount "$ROOT/home/secure"
[ "$(cat home/secure/file)" = mine ]
umount "$ROOT/home/secure"
mount -t fuse.kmsfs -o ro,identity="$ROOT/home/kmsfs/identity",passfile="$ROOT/home/passphrase" home/secure.kmsfs home/secure
[ "$(cat home/secure/file)" = mine ]
refused "ead-only" touch home/secure/new
umount home/secure
refused "is not a kmsfs store" mount -t fuse.kmsfs "$ROOT/nothing" home/secure
"#,
    );
}
