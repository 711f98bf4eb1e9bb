//! A file nobody shares costs no public-key operation. Alone in its program, because the count is the program's.

use kms_crypto::aead::Cipher;
use kms_crypto::format::{Check, Core, DirKeys, Header, Layout, OpenHeader, Sealer, Via};
use kms_crypto::id::{DirId, FileId, StoreId};
use kms_crypto::key::{FileKey, StoreKey};
use kms_crypto::public_key_operations;

#[test]
fn private_files_cost_no_public_key_operation() {
    let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
    let store = StoreKey::generate(&mut rng);
    let mac = store.owner_mac_key();
    let dir = DirKeys::derived(&store, DirId::random(&mut rng), 1);
    let core = Core::file(
        StoreId([1; 16]),
        FileId::random(&mut rng),
        Cipher::Aes256Gcm,
        Layout::new(12).unwrap(),
    );
    let mut file = OpenHeader::new_file(core, &FileKey::generate(&mut rng), 0o600).unwrap();
    let names = OpenHeader::new_dir(
        Core::dir(core.store, dir.id(), core.cipher),
        &dir.key(),
        0o700,
    );
    let name = names.unwrap().names().unwrap().encrypt(b"private").unwrap();
    file.bind(&dir, name.tag).unwrap();
    let mut chunk = vec![1; 4096];
    let leaf = file
        .file_keys()
        .unwrap()
        .seal_chunk(0, &mut chunk, &mut rng);
    let content = file.file_mut().unwrap();
    content.size = 4096;
    content.leaves.set(0, leaf);
    let bytes = file
        .seal(
            &Sealer {
                owner: Some(&mac),
                signer: None,
                machine: None,
            },
            &mut rng,
        )
        .unwrap();
    let via = Via::Dir {
        keys: &dir,
        tag: name.tag,
    };
    let read = Header::parse(&bytes)
        .unwrap()
        .open(via, Check::Owner(&mac))
        .unwrap();
    read.file_keys()
        .unwrap()
        .open_chunk(0, &leaf, &mut chunk)
        .unwrap();
    assert_eq!(public_key_operations(), 0);
}
