//! The sources that need nobody else. What needs other nodes is tested with processes.

use std::fs;
use std::path::Path;

use super::*;
use crate::config::RawConfig;
use crate::rng;

fn config(dir: &Path, source: Option<&str>, passphrase: Option<&str>) -> Config {
    let passphrase_file = passphrase.map(|text| {
        let path = dir.join("passphrase");
        fs::write(&path, format!("{text}\n")).unwrap();
        path
    });
    let raw = RawConfig {
        data_dir: Some(dir.join("data")),
        ledger: Some("file:/nowhere".to_owned()),
        key_source: source.map(str::to_owned),
        passphrase_file,
        ..RawConfig::default()
    };
    raw.resolve().unwrap()
}

async fn key(config: &Config) -> Result<[u8; 32], SourceError> {
    let secret = NodeSecret::generate(&mut rng());
    open(config, &secret).await.map(|(key, _)| *key.as_bytes())
}

#[tokio::test]
async fn a_key_is_generated_once_or_read_from_a_file_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let given = config(dir.path(), Some("file"), None);
    assert!(matches!(key(&given).await, Err(SourceError::Absent(_))));
    let made = key(&config(dir.path(), None, None)).await.unwrap();
    assert_eq!(key(&given).await.unwrap(), made);
    let other = config(dir.path(), Some("passphrase"), Some("x"));
    let Err(SourceError::Differs { present, .. }) = key(&other).await else {
        panic!("the configuration was not heeded")
    };
    assert_eq!(present, "file");
}

#[tokio::test]
async fn a_passphrase_opens_what_it_sealed_and_another_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let config_of = |text| config(dir.path(), Some("passphrase"), Some(text));
    assert!(
        matches!(key(&config_of("")).await, Err(SourceError::NoPassphrase(_))),
        "an empty one protects nothing"
    );
    let made = key(&config_of("a few words")).await.unwrap();
    assert_eq!(key(&config_of("a few words")).await.unwrap(), made);
    assert!(matches!(
        key(&config_of("other words")).await,
        Err(SourceError::Sealed { .. })
    ));
    let data = dir.path().join("data");
    let names: Vec<_> = fs::read_dir(data)
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(names, ["storage.sealed"], "and nothing else");
}

#[tokio::test]
async fn a_key_moves_and_stays_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), None, Some("a few words"));
    let secret = NodeSecret::generate(&mut rng());
    let made = key(&config).await.unwrap();
    for to in [Source::Passphrase, Source::File] {
        move_to(&config, &secret, to).await.unwrap();
        assert_eq!(Source::present(&config), Some(to));
        let others = [Source::File, Source::Passphrase]
            .into_iter()
            .filter(|it| *it != to);
        assert!(others.into_iter().all(|it| !it.path(&config).exists()));
        assert_eq!(key(&config).await.unwrap(), made);
    }
}
