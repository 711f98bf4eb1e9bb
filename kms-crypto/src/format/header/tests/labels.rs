use super::*;
use crate::id::{CurveId, SchemeId};
use crate::scheme::Capsule;

pub(super) fn label_key(number: u8) -> LabelKey {
    let public = delegating(number).public();
    LabelKey {
        id: LabelId([number; 16]),
        generation: 1,
        public,
    }
}

fn delegating(number: u8) -> crate::key::DelegatingKey {
    StoreKey::from_bytes(&[5; 32]).delegating_key(&LabelId([number; 16]), 1)
}

#[test]
fn whoever_opens_the_capsule_opens_the_file() {
    let world = World::new();
    let mut file = world.file();
    file.file_mut().unwrap().size = 77;
    let label = label_key(1);
    file.renew_label(&label, &mut rng()).unwrap();
    let bytes = world.seal_signed(&mut file);

    let header = Header::parse(&bytes).unwrap();
    let slot = &header.labels()[0];
    assert_eq!((slot.id, slot.epoch, slot.generation), (label.id, 1, 1));
    assert_eq!(
        (slot.scheme, slot.curve),
        (SchemeId::SPLIT_ECIES, CurveId::SECP256K1)
    );
    let capsule = Capsule::from_bytes(&slot.capsule).unwrap();
    let secret = delegating(1)
        .decapsulate(&capsule, &slot.context(STORE))
        .unwrap();
    let via = Via::Label {
        id: label.id,
        secret: &secret,
    };
    let read = header
        .open(via, Check::Signed(&world.owner.public()))
        .unwrap();
    assert_eq!(read.file().unwrap().size, 77);
}

#[test]
fn another_secret_or_label_opens_nothing() {
    let world = World::new();
    let mut file = world.file();
    let secret = file.renew_label(&label_key(1), &mut rng()).unwrap();
    let bytes = world.seal_signed(&mut file);
    let open = |id: u8, secret: &LabelSecret| {
        let via = Via::Label {
            id: LabelId([id; 16]),
            secret,
        };
        Header::parse(&bytes).unwrap().open(via, Check::Key).err()
    };
    assert_eq!(
        open(1, &LabelSecret::generate(&mut rng())),
        Some(HeaderError::WrongKey)
    );
    assert_eq!(
        open(2, &secret),
        Some(HeaderError::NoLabel(LabelId([2; 16])))
    );
    assert_eq!(open(1, &secret), None);
}

#[test]
fn after_a_revocation_the_old_secret_opens_only_old_copies() {
    let world = World::new();
    let mut file = world.file();
    let label = label_key(1);
    let old = file.renew_label(&label, &mut rng()).unwrap();
    let before = world.seal_signed(&mut file);

    let new = file.renew_label(&label, &mut rng()).unwrap();
    let keepers = Keepers {
        dirs: &[&world.dir],
        labels: &[(label.id, &new)],
    };
    file.rekey_file(&keepers, &mut rng()).unwrap();
    let after = world.seal_signed(&mut file);

    let open = |bytes, secret| {
        let via = Via::Label {
            id: label.id,
            secret,
        };
        Header::parse(bytes)
            .unwrap()
            .open(via, Check::Signed(&world.owner.public()))
            .map(|_| ())
    };
    assert_eq!(open(&after, &new), Ok(()));
    assert_eq!(open(&after, &old), Err(HeaderError::WrongKey));
    assert_eq!(open(&before, &old), Ok(()));
    assert_eq!(Header::parse(&after).unwrap().labels()[0].epoch, 2);
    world.open(&after).unwrap();
}

#[test]
fn a_dropped_label_needs_no_signature_any_more() {
    let world = World::new();
    let mut file = world.file();
    file.renew_label(&label_key(1), &mut rng()).unwrap();
    assert!(file.drop_label(&LabelId([1; 16])));
    assert!(!file.drop_label(&LabelId([1; 16])));
    assert!(world.open(&world.seal(&mut file)).is_ok());
}
