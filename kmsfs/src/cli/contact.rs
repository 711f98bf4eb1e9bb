//! `kmsfs contact …` (CLI 5).

use std::process::ExitCode;

use kms_crypto::key::PublicKey;
use serde_json::json;

use super::{Common, ContactAddArgs, ContactCommand, GroupCommand, output};
use crate::{
    contact::{Added, Book, Petname, Unresolved, fingerprint},
    failure::{Exit, Failure},
    home::Home,
};

pub(super) fn run(command: &ContactCommand, common: &Common) -> Result<ExitCode, Failure> {
    let home = Home::of_process()?;
    let mut book = Book::load(&home.contacts)?;
    match command {
        ContactCommand::Add(args) => add(&mut book, args, &home, common)?,
        ContactCommand::List => list(&book, common),
        ContactCommand::Show(args) => show(&book, &args.name, common)?,
        ContactCommand::Verify(args) => {
            let today = crate::time::today();
            // Whoever verifies has compared the key that is there now.
            let (name, contact) = book.look_up(&args.name)?;
            let (name, key) = (name.to_owned(), contact.key);
            book.set_verified(&name, &today)?;
            book.save(&home.contacts)?;
            let text = format!("{name} is verified as of {today}: {}", fingerprint(&key));
            output::result(common, &json!({ "name": name, "verified": today }), &text);
        }
        ContactCommand::Rm(args) => {
            let gone = book.remove(&args.name)?;
            book.save(&home.contacts)?;
            let text = format!(
                "Forgot {}. What was granted to them stays granted: kmsfs revoke PATH {}",
                args.name, gone.key
            );
            output::result(
                common,
                &json!({ "name": args.name, "key": gone.key.to_string() }),
                &text,
            );
        }
        ContactCommand::Group(command) => {
            let (group, verb) = match command {
                GroupCommand::Add(args) => {
                    book.group_add(&petname(&args.group)?, &args.members)?;
                    (&args.group, "has")
                }
                GroupCommand::Rm(args) => {
                    book.group_remove(&args.group, &args.members)?;
                    (&args.group, "now has")
                }
            };
            book.save(&home.contacts)?;
            let members = book
                .groups()
                .find(|(name, _)| name == group)
                .map(|(_, members)| members.to_vec())
                .unwrap_or_default();
            let text = if members.is_empty() {
                format!("The group @{group} is gone.")
            } else {
                format!("@{group} {verb} {}.", members.join(", "))
            };
            output::result(
                common,
                &json!({ "group": group, "members": members }),
                &text,
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(
    book: &mut Book,
    args: &ContactAddArgs,
    home: &Home,
    common: &Common,
) -> Result<(), Failure> {
    let name = petname(&args.name)?;
    let key: PublicKey = args.key.parse().map_err(|err| {
        Failure::from(Unresolved::BadKey {
            text: args.key.clone(),
            reason: format!("{err}"),
        })
    })?;
    let added = book.add(&name, key, &crate::time::today())?;
    book.save(&home.contacts)?;
    let digits = fingerprint(&key);
    let text = match added {
        Added::New => format!(
            "Added {name}. Compare on the phone:  {digits}\nThe same? kmsfs contact verify {name}"
        ),
        Added::Already => format!("{name} is there already, with the same key."),
    };
    let document = json!({
        "name": name.as_str(),
        "key": key.to_string(),
        "fingerprint": digits,
        "new": added == Added::New,
    });
    output::result(common, &document, &text);
    Ok(())
}

fn list(book: &Book, common: &Common) {
    let contacts: Vec<_> = book
        .contacts()
        .map(|(name, contact)| {
            json!({
                "name": name,
                "key": contact.key.to_string(),
                "added": contact.added,
                "verified": contact.verified.as_ref().filter(|_| contact.is_unchanged()),
            })
        })
        .collect();
    let groups: Vec<_> = book
        .groups()
        .map(|(name, members)| json!({ "name": name, "members": members }))
        .collect();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (name, contact) in book.contacts() {
        let verified = match (&contact.verified, contact.is_unchanged()) {
            (_, false) => "KEY CHANGED since it was compared".to_owned(),
            (Some(day), true) => format!("verified {day}"),
            (None, true) => "not verified".to_owned(),
        };
        rows.push(vec![name.to_owned(), contact.key.to_string(), verified]);
    }
    for (name, members) in book.groups() {
        rows.push(vec![format!("@{name}"), members.join(", ")]);
    }
    let text = if rows.is_empty() {
        "You have no contacts. Add one: kmsfs contact add NAME kms1…".to_owned()
    } else {
        output::table(&rows)
    };
    output::answer(
        common,
        &json!({ "contacts": contacts, "groups": groups }),
        &text,
    );
}

fn show(book: &Book, name: &str, common: &Common) -> Result<(), Failure> {
    let (name, contact) = book.look_up(name)?;
    let digits = fingerprint(&contact.key);
    let verified = match (&contact.verified, contact.is_unchanged()) {
        (_, false) => "no: this is not the key that was compared".to_owned(),
        (Some(day), true) => day.clone(),
        (None, true) => "no".to_owned(),
    };
    let text = output::table(&[
        vec!["name".into(), name.into()],
        vec!["key".into(), contact.key.to_string()],
        vec!["compare".into(), digits.clone()],
        vec!["added".into(), contact.added.clone()],
        vec!["verified".into(), verified],
    ]);
    let document = json!({
        "name": name,
        "key": contact.key.to_string(),
        "fingerprint": digits,
        "added": contact.added,
        "verified": contact.verified.as_ref().filter(|_| contact.is_unchanged()),
        "changed": !contact.is_unchanged(),
    });
    output::answer(common, &document, &text);
    Ok(())
}

fn petname(text: &str) -> Result<Petname, Failure> {
    text.parse().map_err(|err| {
        Failure::new(Exit::Usage, format!("{text:?} cannot be a name."))
            .why(format!("{err}."))
            .now("Choose something like bob, or anna-maria.")
    })
}
