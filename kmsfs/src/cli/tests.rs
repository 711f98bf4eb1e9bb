use super::*;

fn args(text: &str) -> Vec<OsString> {
    text.split_whitespace().map(OsString::from).collect()
}

#[test]
fn the_definitions_contradict_themselves_nowhere() {
    Cli::command().debug_assert();
}

#[test]
fn a_wrong_command_line_gets_three_lines_and_64() {
    for text in [
        "kmsfs mout",
        "kmsfs",
        "kmsfs mount --nonsense x",
        "kmsfs mount",
        "kmsfs mount a b c",
        "kmsfs grant a b x",
        "kmsfs --password x init y",
    ] {
        let failure = parse(&args(text)).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{text}");
        assert!(failure.to_string().lines().count() <= 3, "{failure}");
        assert!(failure.now.contains("--help"), "{failure}");
    }
}

#[test]
fn a_slip_in_a_command_gets_a_suggestion() {
    let failure = parse(&args("kmsfs mout x")).unwrap_err();
    assert!(failure.why.contains("'mount'"), "{failure}");
}

#[test]
fn the_name_it_is_called_by_decides_what_it_is() {
    for (text, expected) in [
        ("kmsfs mount /a", CalledAs::Kmsfs),
        ("/usr/sbin/mount.fuse.kmsfs /s /m", CalledAs::MountHelper),
        ("mount.kmsfs /s /m -o ro", CalledAs::MountHelper),
        ("kmsfs /s.kmsfs /m -o ro", CalledAs::MountHelper),
        ("kmsfs --help", CalledAs::Kmsfs),
        ("kmsfs mout", CalledAs::Kmsfs),
        ("kmsfs", CalledAs::Kmsfs),
    ] {
        assert_eq!(called_as(&args(text)), expected, "{text}");
    }
}
