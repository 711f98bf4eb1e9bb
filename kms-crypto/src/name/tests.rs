use super::*;

fn cipher(dir: u8) -> NameCipher {
    NameCipher::new(&NameKey::from_bytes(&[9; 32]), DirId([dir; 16]))
}

#[test]
fn names_of_every_length_come_back() {
    for len in 1..=NAME_MAX {
        let name = vec![b'n'; len];
        let sealed = cipher(1).encrypt(&name).unwrap();
        assert!(sealed.backing.len() <= NAME_MAX);
        assert_eq!(sealed.long.is_some(), len > 175);
        let opened = cipher(1).decrypt(&sealed.backing, sealed.long.as_deref());
        assert_eq!(opened, Ok((name, sealed.tag)));
    }
}

#[test]
fn a_name_belongs_to_its_directory() {
    let sealed = cipher(1).encrypt(b"report.txt").unwrap();
    assert_eq!(
        cipher(2).decrypt(&sealed.backing, None),
        Err(NameError::Refused)
    );
    let other = NameCipher::new(&NameKey::from_bytes(&[8; 32]), DirId([1; 16]));
    assert_eq!(
        other.decrypt(&sealed.backing, None),
        Err(NameError::Refused)
    );
}

#[test]
fn a_name_with_any_character_changed_is_refused() {
    let sealed = cipher(1).encrypt(b"report.txt").unwrap();
    for at in 0..sealed.backing.len() {
        let mut wrong = sealed.backing.clone().into_bytes();
        wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).unwrap();
        assert_eq!(
            cipher(1).decrypt(&wrong, None),
            Err(NameError::Refused),
            "character {at}"
        );
    }
}

#[test]
fn a_long_name_needs_its_own_side_file() {
    let one = cipher(1).encrypt(&[b'a'; 200]).unwrap();
    let two = cipher(1).encrypt(&[b'b'; 200]).unwrap();
    assert_eq!(
        cipher(1).decrypt(&one.backing, None),
        Err(NameError::SideMissing)
    );
    assert_eq!(
        cipher(1).decrypt(&one.backing, two.long.as_deref()),
        Err(NameError::Refused)
    );
    let short = cipher(1).encrypt(b"short").unwrap();
    assert_eq!(
        cipher(1).decrypt(&one.backing, Some(&short.backing)),
        Err(NameError::Refused)
    );
}

#[test]
fn what_is_no_name_is_not_sealed() {
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        assert_eq!(cipher(1).encrypt(name), Err(NameError::NotAName));
    }
    assert_eq!(cipher(1).encrypt(&[b'a'; 256]), Err(NameError::TooLong));
}

#[test]
fn entries_of_a_backing_directory_are_told_apart() {
    let short = cipher(1).encrypt(b"x").unwrap().backing;
    let long = cipher(1).encrypt(&[b'x'; 255]).unwrap().backing;
    let side = format!("{long}.name");
    assert_eq!(BackingName::of(b"kmsfs.dir"), BackingName::DirHeader);
    assert_eq!(
        BackingName::of(short.as_bytes()),
        BackingName::Short(&short)
    );
    assert_eq!(BackingName::of(long.as_bytes()), BackingName::Long(&long));
    assert_eq!(BackingName::of(side.as_bytes()), BackingName::Side(&long));
    for foreign in [
        &b".DS_Store"[..],
        b"kmsfs.toml",
        b"x.name",
        b"l.short",
        b"\xff",
        b"",
    ] {
        assert_eq!(BackingName::of(foreign), BackingName::Foreign);
    }
}

#[test]
fn a_link_target_belongs_to_its_name() {
    let cipher = cipher(1);
    let tags = [
        cipher.encrypt(b"one").unwrap().tag,
        cipher.encrypt(b"two").unwrap().tag,
    ];
    let sealed = cipher.encrypt_target(tags[0], b"../somewhere").unwrap();
    assert_eq!(
        cipher.decrypt_target(tags[0], &sealed).unwrap(),
        b"../somewhere"
    );
    assert_eq!(
        cipher.decrypt_target(tags[1], &sealed),
        Err(NameError::Refused)
    );
    assert_eq!(
        cipher.decrypt_target(tags[0], "/etc/passwd"),
        Err(NameError::Refused)
    );
    assert_eq!(NameCipher::link_len(sealed.len(), None), Some(12));
    assert_eq!(
        cipher.encrypt_target(tags[0], &[b't'; TARGET_MAX + 1]),
        Err(NameError::TooLong)
    );
}

#[test]
fn a_long_target_is_kept_beside_the_link_and_one_on_the_move_opens_under_both_names() {
    let cipher = cipher(1);
    let tag = |name| cipher.encrypt(name).unwrap().tag;
    let (one, two, three) = (tag(b"one"), tag(b"two"), tag(b"three"));
    let seal = |tag, len| cipher.encrypt_target(tag, &vec![b't'; len]).unwrap();

    let short = StoredLink::of(seal(one, 3055));
    assert_eq!((short.target.len(), short.side), (4095, None));
    for len in [3056, TARGET_MAX] {
        let stored = StoredLink::of(seal(one, len));
        let side = stored.side.as_deref();
        assert!(StoredLink::is_spilled(stored.target.len()) && side.is_some());
        assert_eq!(NameCipher::link_len(stored.target.len(), side), Some(len));
        assert_eq!(
            cipher.open_link(one, &stored.target, side),
            Ok(vec![b't'; len])
        );
        let refused = [(two, side), (one, Some("x"))];
        for (tag, side) in refused {
            let opened = cipher.open_link(tag, &stored.target, side);
            assert_eq!(opened, Err(NameError::Refused));
        }
        let missing = cipher.open_link(one, &stored.target, None);
        assert_eq!(missing, Err(NameError::SideMissing));
    }

    let both = StoredLink::of_two(&seal(one, 5), &seal(two, 5));
    let side = both.side.as_deref();
    assert_eq!(NameCipher::link_len(both.target.len(), side), Some(5));
    for tag in [one, two] {
        let opened = cipher.open_link(tag, &both.target, side);
        assert_eq!(opened, Ok(vec![b't'; 5]));
    }
    let opened = cipher.open_link(three, &both.target, side);
    assert_eq!(opened, Err(NameError::Refused));
    let sides = format!("{}{LINK_SUFFIX}", both.target);
    assert_eq!(
        BackingName::of(sides.as_bytes()),
        BackingName::LinkSide(&both.target)
    );
}

#[test]
fn no_sealed_target_is_as_long_as_the_name_of_a_side_file() {
    let cipher = cipher(1);
    for len in 1..100 {
        let sealed = cipher
            .encrypt_target(NameTag([0; 16]), &vec![b't'; len])
            .unwrap();
        assert!(!StoredLink::is_spilled(sealed.len()), "{len}");
    }
}
