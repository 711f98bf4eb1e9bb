//! Making grants, and failing to.

use kms_client::fake::Conduct;

use crate::{PATIENCE, Scene};

#[test]
fn a_grant_opens_one_file_for_one_person() {
    let scene = Scene::new(5);
    scene.put("plan", "launch friday");
    scene.put("other", "private");
    scene.refused(&scene.bob, "plan", libc::EACCES);
    scene.grant("plan", "bob ttl=7d").unwrap();
    scene.reads(&scene.bob, "plan", "launch friday");
    scene.refused(&scene.bob, "other", libc::EACCES);
    scene.refused(&scene.carol, "plan", libc::EACCES);
    assert_eq!(scene.net.fragments(), 5);
}

#[test]
fn a_grant_on_a_directory_covers_what_comes_later() {
    let scene = Scene::new(5);
    scene.mkdir("dir");
    scene.mkdir("dir/below");
    scene.put("dir/below/deep", "deep");
    scene.grant("dir", "bob").unwrap();
    scene.put("dir/below/later", "later");
    scene.vfs.fsyncdir(scene.ino("dir/below")).unwrap();
    scene.reads(&scene.bob, "dir/below/deep", "deep");
    scene.reads(&scene.bob, "dir/below/later", "later");
    assert_eq!(scene.net.fragments(), 5, "one policy, however many files");
}

#[test]
fn what_cannot_be_granted_leaves_nothing_behind() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.net.set(2, Conduct::Dead);
    let refused = scene.grant("plan", "bob").unwrap_err();
    assert_eq!(refused.errno, libc::EHOSTUNREACH, "{refused:?}");
    assert!(refused.failure.why.contains('5'), "{refused:?}");
    scene.owner.finish(PATIENCE);
    assert_eq!(scene.net.fragments(), 0);
    assert!(scene.owner.all_records().is_empty());
    assert!(!scene.listed("plan"));
    scene.refused(&scene.bob, "plan", libc::EACCES);
}

#[test]
fn a_grant_takes_other_nodes_when_there_are_some() {
    let scene = Scene::new(7);
    scene.put("plan", "x");
    scene.net.set(0, Conduct::Dead);
    scene.net.set(1, Conduct::Garbage);
    scene.grant("plan", "bob").unwrap();
    scene.reads(&scene.bob, "plan", "x");
}

#[test]
fn mistakes_have_an_errno_and_a_reason() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    for (value, errno, says) in [
        ("bobb", libc::EDESTADDRREQ, "Did you mean bob?"),
        ("@team", libc::EDESTADDRREQ, "team"),
        ("", libc::EINVAL, "nobody"),
        ("bob ttl=soon", libc::EINVAL, "soon"),
        ("bob until=2001-01-01", libc::EINVAL, "over"),
        ("bob m=6/5", libc::EINVAL, "6/5"),
        ("kms1qqqqqqqq", libc::EINVAL, "kms1qqqqqqqq"),
        ("bob rw", libc::EOPNOTSUPP, "later version"),
        ("bob m=3/6", libc::EHOSTUNREACH, "6 nodes"),
        ("bob ttl=9999d", libc::EHOSTUNREACH, "serve so long"),
    ] {
        let refused = scene.grant("plan", value).unwrap_err();
        let text = refused.failure.to_string().to_lowercase();
        assert_eq!(refused.errno, errno, "{value}: {text}");
        assert!(text.contains(&says.to_lowercase()), "{value}: {text}");
        assert!(text.lines().count() <= 3, "{text}");
    }
    let own = scene.alice.public().to_string();
    assert_eq!(scene.grant("plan", &own).unwrap_err().errno, libc::EINVAL);
    assert!(scene.owner.all_records().is_empty());
}

#[test]
fn a_newer_grant_takes_the_place_of_the_older_one() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob ttl=30d").unwrap();
    scene.grant("plan", "bob ttl=1h").unwrap();
    scene.reads(&scene.bob, "plan", "x");
    scene.owner.finish(PATIENCE);
    assert_eq!(scene.net.fragments(), 5, "the older fragments are gone");
    let records = scene.owner.all_records();
    assert_eq!(records.len(), 1);
    assert!(records[0].expiry < scene.net.now() + 2 * 3600);
}

#[test]
fn several_people_at_once_with_white_space_as_tools_leave_it() {
    let scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", " bob, carol ttl=1d\n\0").unwrap();
    scene.reads(&scene.bob, "plan", "x");
    scene.reads(&scene.carol, "plan", "x");
    let info = scene.info("plan");
    assert!(
        info.contains("bob(r,until") && info.contains("carol(r,until"),
        "{info}"
    );
}

#[test]
fn grants_are_known_after_a_remount() {
    let mut scene = Scene::new(5);
    scene.put("plan", "x");
    scene.grant("plan", "bob").unwrap();
    let before = scene.info("plan");
    scene.reopen();
    assert_eq!(scene.info("plan"), before);
    scene.revoke("plan", "bob").unwrap();
    scene.refused(&scene.bob, "plan", libc::EKEYREVOKED);
}
