//! The `user.kms.*` attributes as programs use them.

use kmsfs::vfs::{Caller, XattrMode};

use crate::{Scene, me};

fn set(scene: &Scene, caller: Caller, name: &str, value: &str) -> i32 {
    let (ino, name) = (scene.ino("plan"), format!("user.kms.{name}"));
    let set = scene.vfs.setxattr(
        caller,
        ino,
        name.as_bytes(),
        value.as_bytes(),
        XattrMode::Set,
    );
    set.err().map_or(0, |error| error.errno().raw_os_error())
}

#[test]
fn only_the_mounting_user_and_root_share() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    let stranger = Caller {
        uid: me().uid + 1,
        ..me()
    };
    assert_eq!(set(&scene, stranger, "grant", "bob"), libc::EPERM);
    assert!(scene.owner.all_records().is_empty());
    assert_eq!(set(&scene, me(), "grant", "bob"), 0);
    assert_eq!(set(&scene, stranger, "revoke", "*"), libc::EPERM);
    assert_eq!(set(&scene, Caller { uid: 0, ..me() }, "revoke", "*"), 0);
}

#[test]
fn verbs_are_never_listed_nor_read_and_slips_are_refused() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    assert!(!scene.listed("plan"));
    assert_eq!(set(&scene, me(), "grant", "bob ttl=7d"), 0);
    let listed = scene.vfs.listxattr(me(), scene.ino("plan")).unwrap();
    assert_eq!(listed, b"user.kms.info\0");
    for verb in ["grant", "revoke", "nonsense"] {
        let name = format!("user.kms.{verb}");
        let read = scene.vfs.getxattr(me(), scene.ino("plan"), name.as_bytes());
        assert_eq!(read.unwrap_err().errno().raw_os_error(), libc::ENODATA);
    }
    assert_eq!(set(&scene, me(), "grnat", "bob"), libc::EINVAL);
    assert_eq!(set(&scene, me(), "readers", "bob"), libc::EINVAL);
}

#[test]
fn what_copying_tools_write_back_does_nothing_and_succeeds() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.put("copy", "x");
    scene.grant("plan", "bob").unwrap();
    let info = scene.info("plan");
    let copied = scene.vfs.setxattr(
        me(),
        scene.ino("copy"),
        b"user.kms.info",
        info.as_bytes(),
        XattrMode::Set,
    );
    assert!(copied.is_ok());
    assert!(!scene.listed("copy"));
    assert_eq!(set(&scene, me(), "info", "readers=everybody"), libc::EINVAL);
}

#[test]
fn the_information_is_one_line_of_plain_text() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    assert_eq!(
        scene.info("plan"),
        "kms: owner=me; readers=none; epoch=1; quorum=3/5; state=ok"
    );
    scene.grant("plan", "bob until=2027-01-31 m=2/4").unwrap();
    assert_eq!(
        scene.info("plan"),
        "kms: owner=me; readers=bob(r,until 2027-01-31); epoch=1; quorum=2/4; state=ok"
    );
    // Somebody without a name stands there by key, still in plain text.
    std::fs::write(scene.dir.path().join("contacts.toml"), "").unwrap();
    let info = scene.info("plan");
    assert!(info.is_ascii() && info.contains("readers=kms1"), "{info}");
}

#[test]
fn why_is_told_to_whom_it_happened() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    let why = |caller: Caller| {
        let value = scene
            .vfs
            .getxattr(caller, scene.ino("plan"), b"user.kms.why");
        value.map(|value| String::from_utf8(value).unwrap())
    };
    assert_eq!(why(me()).unwrap_err().errno().raw_os_error(), libc::ENODATA);
    assert_eq!(set(&scene, me(), "grant", "bobb"), libc::EDESTADDRREQ);
    assert!(why(me()).unwrap().contains("Did you mean bob?"));
    let other = Caller {
        uid: me().uid + 1,
        ..me()
    };
    assert!(why(other).is_err());
}
