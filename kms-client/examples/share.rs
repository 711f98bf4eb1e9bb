//! Shares a value over a running network and takes it back.
//!
//! ```text
//! kms-node devnet --nodes 5 --dir /tmp/devnet      # prints: ready ledger=… bootstrap=…
//! cargo run --release -p kms-client --example share -- LEDGER BOOTSTRAP
//! ```

use std::error::Error;
use std::time::Instant;

use kms_client::sealed::{Owner, decrypt, encrypt, generate_key};
use kms_client::{GrantRequest, KeyRequest, NetworkConfig, RevokeRequest, Threshold, blocking};
use kms_crypto::format::file;
use kms_crypto::id::StoreId;
use kms_crypto::key::StoreKey;
use kms_crypto::scheme::Capsule;
use rand_core::UnwrapErr;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let config = NetworkConfig {
        network: "devnet".to_owned(),
        ledger: args.next().ok_or("usage: share LEDGER BOOTSTRAP")?,
        bootstrap: args
            .next()
            .unwrap_or_default()
            .split(',')
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect(),
        ..NetworkConfig::default()
    };
    let rng = &mut UnwrapErr(getrandom::SysRng);
    let client = timed("connect", || blocking::Client::connect(&config))?;

    let (alice, bob) = (generate_key(), generate_key());
    let key = StoreKey::generate(rng);
    let owner = Owner {
        store: StoreId::random(rng),
        key: &key,
        identity: &alice,
    };
    let sealed = encrypt(b"launch friday", &owner)?;

    let salt = [1; 32];
    let ledger_key = key.ledger_key(&salt);
    let threshold = Threshold::new(3, 5)?;
    let request = GrantRequest {
        delegating_key: &owner.delegating_key(&sealed.label),
        ledger_key: &ledger_key,
        recipient: bob.public(),
        salt,
        threshold,
        expiry: kms_ledger::system_clock()() + 3600,
        epoch: 1,
    };
    let grant = timed("grant", || client.grant(&request))?;

    let header = file::inspect(&sealed.bytes)?;
    let slot = header.labels().first().ok_or("no label")?;
    let wanted = KeyRequest {
        params: grant.params,
        threshold,
        nodes: grant.nodes.clone(),
        capsule: Capsule::from_bytes(&slot.capsule)?,
        context: slot.context(owner.store),
    };
    for _ in 0..3 {
        let secret = timed("fetch the key", || client.decrypt_key(&wanted, &bob))?;
        let opened = decrypt(&sealed.bytes, &sealed.label, &secret, &alice.public())?;
        assert_eq!(*opened, b"launch friday");
    }

    let revoke = RevokeRequest {
        ledger_key: &ledger_key,
        params: grant.params,
        threshold,
        nodes: &grant.nodes,
        epoch: 2,
    };
    let outcome = timed("revoke", || client.revoke(&revoke))?;
    println!(
        "{} of {} nodes confirmed",
        outcome.removal.removed.len(),
        threshold.total()
    );
    match client.decrypt_key(&wanted, &bob) {
        Err(error) => println!("afterwards: {error}"),
        Ok(_) => return Err("the key still opens".into()),
    }
    Ok(())
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = run();
    println!("{what}: {:.1} ms", started.elapsed().as_secs_f64() * 1000.0);
    result
}
