//! Everything that holds secrets.

use k256::Scalar;
use rand_core::CryptoRng;

use super::check;
use crate::aead::{Backend, ChunkCipher, Cipher, unwrap_key, wrap_key};
use crate::id::{LabelId, SchemeId, StoreId};
use crate::identity::{IdentityFile, PassphraseParams};
use crate::key::{
    DelegatingKey, DirKey, EcDelegatingKey, FileKey, IdentitySecret, LabelSecret, LedgerKey,
    NameKey, NodeSecret, StoreKey,
};
use crate::policy::{PolicyParams, Threshold};
use crate::scheme::{
    Capsule, CapsuleFrag, KeyFrag, LabelContext, Reader, SchemeKind, VerifiedKeyFrag, encapsulate,
};
use crate::seal::seal_to;
use crate::umbral;

fn rng() -> impl CryptoRng {
    rand_core::UnwrapErr(getrandom::SysRng)
}

pub(super) fn run_all() {
    symmetric_keys();
    scalar_keys();
    delegating_keys();
    ciphers();
    identity_file();
    sealed_box();
    fragments();
    openings();
    umbral_keys();
    #[cfg(feature = "signing")]
    signing_shares();
}

fn symmetric_keys() {
    macro_rules! check_keys {
        ($($name:ident)*) => {$(
            check(concat!("generated ", stringify!($name)), || $name::generate(&mut rng()), |key, secrets| {
                secrets.bytes("key", key.as_bytes());
            });
        )*};
    }
    check_keys!(StoreKey DirKey FileKey LabelSecret NameKey);
    let store = StoreKey::generate(&mut rng());
    let dir = crate::id::DirId([3; 16]);
    check(
        "derived DirKey",
        || store.dir_key(&dir, 1),
        |key, secrets| {
            secrets.bytes("key", key.as_bytes());
        },
    );
}

fn scalar_keys() {
    macro_rules! check_keys {
        ($($name:ident)*) => {$(
            check(concat!("generated ", stringify!($name)), || $name::generate(&mut rng()), |key, secrets| {
                secrets.number("key", key.to_bytes().as_ref());
            });
            check(concat!("used ", stringify!($name)), || {
                let key = $name::generate(&mut rng());
                drop(key.to_bytes());
                $name::from_bytes(&key.to_bytes()).unwrap()
            }, |key, secrets| secrets.number("key", key.to_bytes().as_ref()));
        )*};
    }
    check_keys!(IdentitySecret NodeSecret LedgerKey EcDelegatingKey);
    let store = StoreKey::generate(&mut rng());
    check(
        "derived LedgerKey",
        || store.ledger_key(&[7; 32]),
        |key, secrets| {
            secrets.number("key", key.to_bytes().as_ref());
        },
    );
    check(
        "a key that signed",
        || {
            let key = NodeSecret::generate(&mut rng());
            let _ = key.sign("test", b"message", &mut rng());
            key
        },
        |key, secrets| secrets.number("key", key.to_bytes().as_ref()),
    );
    check(
        "a key read from its words",
        || {
            let words = IdentitySecret::generate(&mut rng()).to_words();
            IdentitySecret::from_words(&words).unwrap()
        },
        |key, secrets| secrets.number("key", key.to_bytes().as_ref()),
    );
    check(
        "a key read from its text",
        || {
            let text = IdentitySecret::generate(&mut rng()).to_text();
            text.parse::<IdentitySecret>().unwrap()
        },
        |key, secrets| secrets.number("key", key.to_bytes().as_ref()),
    );
}

/// The form blst computes with: times 2²⁵⁶, lowest byte first.
fn montgomery(scalar: &[u8; 32]) -> [u8; 32] {
    let scalar = crate::bls::decode_scalar(scalar).unwrap();
    let mut doubled = scalar;
    (0..256).for_each(|_| doubled += doubled);
    doubled.to_bytes_be()
}

fn delegating_keys() {
    for kind in SchemeKind::ALL {
        let store = StoreKey::generate(&mut rng());
        let inspect = |key: &DelegatingKey, secrets: &mut super::Secrets| {
            let bytes = key.to_bytes();
            if kind.id() == SchemeId::AFGH {
                secrets.bytes("key", bytes.as_ref());
                secrets.passing("blst's key", &montgomery(&bytes));
            } else {
                secrets.number("key", bytes.as_ref());
            }
        };
        let generated = || DelegatingKey::generate_for(kind.id(), &mut rng()).unwrap();
        check("generated DelegatingKey", generated, inspect);
        let derived = || {
            store
                .delegating_key_for(kind.id(), &LabelId([1; 16]), 0)
                .unwrap()
        };
        check("derived DelegatingKey", derived, inspect);
    }
}

/// AES's round keys begin with the key itself.
fn ciphers() {
    let kek = StoreKey::generate(&mut rng());
    let unwrapped = || {
        let key = FileKey::generate(&mut rng());
        let wrapped = wrap_key(kek.as_bytes(), &[b"ad"], key.as_bytes());
        FileKey::from_bytes(&unwrap_key(kek.as_bytes(), &[b"ad"], &wrapped).unwrap())
    };
    check("an unwrapped key", unwrapped, |key, secrets| {
        secrets.bytes("key", key.as_bytes())
    });

    for &backend in Backend::ALL {
        for cipher in Cipher::ALL {
            let make = || {
                let key = FileKey::generate(&mut rng());
                let keyed = ChunkCipher::with_backend(backend, cipher, key.as_bytes());
                let mut text = *b"sixteen bytes, or some more";
                let tag = keyed.seal_in_place(&[0; 12], b"ad", &mut text);
                keyed
                    .open_in_place(&[0; 12], b"ad", &mut text, &tag)
                    .unwrap();
                let masked: Vec<u8> = key.as_bytes().iter().map(|byte| !byte).collect();
                (keyed, masked)
            };
            check(
                &format!("{cipher:?} by {backend:?}"),
                make,
                |(_, masked), secrets| {
                    let key: Vec<u8> = masked.iter().map(|byte| !byte).collect();
                    secrets.bytes("key", &zeroize::Zeroizing::new(key));
                },
            );
        }
    }
}

fn identity_file() {
    let params = PassphraseParams {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    let file = {
        let secret = IdentitySecret::generate(&mut rng());
        IdentityFile::seal(&secret, b"passphrase", params, "today", &mut rng()).unwrap()
    };
    let open = || file.open(b"passphrase").unwrap();
    check("an opened identity file", open, |key, secrets| {
        secrets.number("key", key.to_bytes().as_ref());
    });
}

fn sealed_box() {
    let bob = IdentitySecret::generate(&mut rng());
    let sealed = {
        let text = FileKey::generate(&mut rng());
        seal_to(&bob.public(), "test", &[], text.as_bytes(), &mut rng())
    };
    let open = || bob.open_sealed("test", &[], &sealed).unwrap();
    check("an opened box", open, |text, secrets| {
        secrets.bytes("text", text)
    });
}

/// One label of a scheme shared with Bob.
struct World {
    label: DelegatingKey,
    signer: LedgerKey,
    bob: IdentitySecret,
    policy: PolicyParams,
    threshold: Threshold,
}

const CONTEXT: LabelContext = LabelContext {
    store: StoreId([1; 16]),
    label: LabelId([2; 16]),
    epoch: 3,
};

impl World {
    fn new(kind: SchemeKind) -> Self {
        let rng = &mut rng();
        let label = DelegatingKey::generate_for(kind.id(), rng).unwrap();
        let (signer, bob) = (LedgerKey::generate(rng), IdentitySecret::generate(rng));
        let policy = PolicyParams::new(signer.public(), label.public(), bob.public(), [7; 32]);
        let threshold = kind.rule().adapt(Threshold::new(2, 3).unwrap());
        Self {
            label,
            signer,
            bob,
            policy,
            threshold,
        }
    }

    fn split(&self) -> Vec<KeyFrag> {
        self.label
            .split(&mut rng(), &self.policy, &self.signer, self.threshold)
            .unwrap()
    }

    fn capsule(&self) -> (Capsule, LabelSecret) {
        let label = self.label.public();
        encapsulate(&mut rng(), label.scheme(), &label, &CONTEXT).unwrap()
    }
}

/// Where the share is in an encoding that has so many bytes before it.
fn share(encoded: &[u8], kind: SchemeKind, before: usize) -> &[u8] {
    let len = if kind.id() == SchemeId::AFGH { 96 } else { 32 };
    &encoded[before..before + len]
}

fn fragments() {
    for kind in SchemeKind::ALL {
        let world = World::new(kind);
        let held = |secrets: &mut super::Secrets, share: &[u8]| {
            if kind.id() == SchemeId::AFGH {
                secrets.bytes("share", share);
            } else {
                secrets.number("share", share);
            }
        };
        check(
            "key fragments",
            || world.split(),
            |frags, secrets| {
                frags
                    .iter()
                    .for_each(|frag| held(secrets, share(&frag.to_bytes(), kind, 38)));
            },
        );
        let make = || {
            let frag = KeyFrag::from_bytes(&world.split()[0].to_bytes()).unwrap();
            let frag = frag.verify(&world.policy).unwrap();
            let frag = VerifiedKeyFrag::from_bytes_trusted(&frag.to_bytes()).unwrap();
            let answer = frag.reencrypt(&mut rng(), &world.capsule().0).unwrap();
            (frag, answer)
        };
        let label_key = match kind.id() {
            SchemeId::SPLIT_ECIES => 0,
            SchemeId::AFGH => 48,
            _ => 33,
        };
        check("a key fragment in use", make, |(frag, _), secrets| {
            held(secrets, share(&frag.to_bytes(), kind, 70 + label_key));
            if kind.id() == SchemeId::AFGH {
                let key = world.label.to_bytes();
                secrets.passing("the label's key, as blst has it", &montgomery(&key));
            }
        });
    }
}

fn openings() {
    for kind in SchemeKind::ALL {
        let world = World::new(kind);
        check(
            "a new label secret",
            || world.capsule(),
            |(_, secret), secrets| {
                secrets.bytes("secret", secret.as_bytes());
            },
        );
        let (capsule, _) = world.capsule();
        let own = || world.label.decapsulate(&capsule, &CONTEXT).unwrap();
        check("a label secret the owner opened", own, |secret, secrets| {
            secrets.bytes("secret", secret.as_bytes());
        });
        let read = || {
            let mut reader = Reader::new(&world.policy);
            let answers: Vec<CapsuleFrag> = world
                .split()
                .into_iter()
                .map(|frag| {
                    let frag = frag.verify(&world.policy).unwrap();
                    frag.reencrypt(&mut rng(), &capsule).unwrap()
                })
                .collect();
            let checked = reader.verify_all(answers, &capsule);
            let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
            let cold = reader
                .open(&world.bob, &capsule, &checked, &CONTEXT)
                .unwrap();
            let warm = reader
                .open(&world.bob, &capsule, &checked, &CONTEXT)
                .unwrap();
            (reader, cold, warm)
        };
        check(
            "a reader and what he opened",
            read,
            |(reader, cold, warm), secrets| {
                secrets.bytes("secret", cold.as_bytes());
                secrets.bytes("secret, later", warm.as_bytes());
                for weight in reader.weights() {
                    secrets.number("weight", &<[u8; 32]>::from(Scalar::to_bytes(weight)));
                }
            },
        );
    }
}

fn umbral_keys() {
    let seed = || umbral::SecretKeyFactory::generate(&mut rng());
    check("a factory", seed, |it, secrets| {
        secrets.bytes("seed", it.to_bytes().as_ref())
    });
    let factory = seed();
    let factory_of = || factory.make_factory(b"label");
    check("a factory of a factory", factory_of, |it, secrets| {
        secrets.bytes("seed", it.to_bytes().as_ref());
    });
    check(
        "a key by its label",
        || factory.make_key(b"label"),
        |key, secrets| {
            secrets.number("key", key.to_bytes().as_ref());
        },
    );

    let (alice, signer) = (factory.make_key(b"a"), LedgerKey::generate(&mut rng()));
    let bob = IdentitySecret::generate(&mut rng());
    let parties = umbral::Parties {
        verifying: signer.public(),
        delegating: alice.public(),
        receiving: bob.public(),
    };
    let (capsule, sealed) = {
        let text = FileKey::generate(&mut rng());
        umbral::encrypt(&mut rng(), &alice.public(), text.as_bytes())
    };
    let split = || {
        let threshold = Threshold::new(2, 3).unwrap();
        let (bob, both) = (bob.public(), umbral::SignedKeys::BOTH);
        umbral::generate_key_frags(&mut rng(), &alice, &bob, &signer, threshold, both).unwrap()
    };
    check("umbral's key fragments", split, |frags, secrets| {
        frags
            .iter()
            .for_each(|frag| secrets.number("share", &frag.to_bytes()[32..64]));
    });
    let answers = || -> Vec<_> {
        let verified = split().into_iter().map(|frag| {
            let frag = umbral::KeyFrag::from_bytes(&frag.to_bytes()).unwrap();
            let (a, b) = (alice.public(), bob.public());
            frag.verify(&signer.public(), Some(&a), Some(&b)).unwrap()
        });
        verified
            .map(|frag| frag.reencrypt(&mut rng(), &capsule))
            .collect()
    };
    let read = || {
        let mut reader = umbral::Reader::new(parties);
        let checked = reader.verify_all(answers(), &capsule);
        let checked: Vec<_> = checked.into_iter().map(Result::unwrap).collect();
        let text = reader.decrypt(&bob, &capsule, &checked, &sealed).unwrap();
        (reader, text)
    };
    check("umbral's reader", read, |(reader, text), secrets| {
        secrets.bytes("text", text);
        for weight in reader.weights() {
            secrets.number("weight", &<[u8; 32]>::from(Scalar::to_bytes(weight)));
        }
    });
    let own = || umbral::decrypt_original(&alice, &capsule, &sealed).unwrap();
    check("umbral's owner", own, |text, secrets| {
        secrets.bytes("text", text)
    });
}

#[cfg(feature = "signing")]
fn signing_shares() {
    let (rng, id) = (&mut rng(), SchemeId::SIGNING);
    let (label, signer) = (
        DelegatingKey::generate_for(id, rng).unwrap(),
        LedgerKey::generate(rng),
    );
    let owner = IdentitySecret::generate(rng).public();
    let policy = PolicyParams::new(signer.public(), label.public(), owner, [7; 32]);
    let split = || {
        let threshold = Threshold::new(2, 3).unwrap();
        let frags = label.split(&mut self::rng(), &policy, &signer, threshold);
        frags.unwrap()
    };
    check("signing shares", split, |frags, secrets| {
        let shares = frags.iter().map(KeyFrag::to_bytes);
        shares.for_each(|it| secrets.number("share", &it[7..39]));
    });
    let verified = |index: usize| {
        let frag = KeyFrag::from_bytes(&split()[index].to_bytes()).unwrap();
        let frag = frag.verify(&policy).unwrap();
        match VerifiedKeyFrag::from_bytes_trusted(&frag.to_bytes()) {
            Ok(VerifiedKeyFrag::Signing(frag)) => frag,
            _ => panic!("a share that was dealt is refused"),
        }
    };
    let used = || {
        let frag = verified(0);
        let (nonces, commitment) = frag.commit(&mut self::rng());
        let (_, other) = frag.commit(&mut self::rng());
        let part = frag.sign(nonces, b"message", &[(0, commitment), (1, other)]);
        (VerifiedKeyFrag::Signing(frag), part.unwrap())
    };
    check("a share that signed", used, |(frag, _), secrets| {
        secrets.number("share", &frag.to_bytes()[39..71]);
    });
    let drawn = || verified(1).commit(&mut self::rng());
    check("nonces", drawn, |(nonces, _), secrets| {
        for nonce in nonces.bytes() {
            secrets.bytes("nonce", nonce);
        }
    });
}
