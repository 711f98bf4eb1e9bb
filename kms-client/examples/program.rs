//! The program of docs/RUST.md, which a test runs and compares with what is printed there.

use kms_client::home::Home;
use kms_client::settings::Settings;
use kms_client::{Client, Contacts, Keyring, Opening, Session, SessionConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keyring = Keyring::new(Home::of_process()?);
    let (network, _) = Settings::of(keyring.home(), |name| std::env::var_os(name))?.resolve()?;
    let client = Some(Client::connect(&network).await?);
    let open = |name: &str, passphrase| {
        let me = keyring.generate_key(name, passphrase)?; // later: keyring.open
        let mut config = SessionConfig::new(keyring.clone(), client.clone());
        config.name = name.to_owned();
        Session::open(config, me.secret)
    };
    let alice = open("default", "correct horse")?;
    let bob = open("bob", "battery staple")?; // somebody else, here on the same machine

    Contacts::new(&keyring.home().contacts).add("bob", bob.identity())?; // his key, kms1…
    let sealed = alice.encrypt(b"launch friday\n", Default::default())?;
    let grants = alice.grant(&sealed.label, "bob ttl=7d m=3/5").await?;
    // sealed.bytes and the ticket reach Bob by any means
    let by = Opening::Ticket {
        ticket: &grants[0].ticket,
        owner: None,
    };
    let opened = bob.decrypt(&sealed.bytes, by).await?;
    print!("{}", String::from_utf8_lossy(&opened.data));
    alice.revoke(&sealed.label, "bob").await?; // when it is enough
    match bob.decrypt(&sealed.bytes, by).await {
        Err(error) => println!("{}: {error}", error.code().name()),
        Ok(_) => println!("still open"),
    }
    Ok(())
}
