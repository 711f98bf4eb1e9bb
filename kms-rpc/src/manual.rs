//! The manual pages `kmsd.8` and `kms-cli.1`, made from the definitions of options and methods.

use crate::method;
use crate::options::{CLI, DAEMON, Known};

/// `kmsd.8`.
#[must_use]
pub fn kmsd() -> String {
    let mut page = Page::new(
        "kmsd",
        8,
        "kms over JSON-RPC on localhost, in bitcoind's manner",
    );
    page.section("SYNOPSIS");
    page.line(".B kmsd");
    page.text("[-option[=value]]…");
    page.section("DESCRIPTION");
    page.text(
        "Generates keys, encrypts, grants, revokes, obtains keys and decrypts for programs on this machine, on behalf of \
         the identities and contacts of kmsfs(1). It answers HTTP POST on / with JSON-RPC 1.1 or 2.0; kms-cli(1) is a \
         client, and so is every library made for bitcoind.",
    );
    page.text(
        "Whoever may read the cookie may do everything. Requests of web pages are refused, whatever they carry.",
    );
    page.section("OPTIONS");
    page.text(
        "-nooption is -option=0. The same options without the dash stand in the file of options, one a line; below a line \
         [network] they count for that network alone. The command line goes first.",
    );
    page.options(DAEMON);
    page.section("FILES");
    page.text("In the data directory:");
    for (name, about) in [
        ("kmsd.conf", "options"),
        (".cookie", "the credential of this run, for its owner alone"),
        (".lock", "locked as long as the daemon runs"),
        ("kmsd.pid", "the process number"),
        ("debug.log", "methods and users, never parameters"),
    ] {
        page.item(name, about);
    }
    page.section("SIGNALS");
    page.text(
        "SIGTERM and SIGINT end it when what is under way has been answered; SIGHUP opens the log anew.",
    );
    page.section("EXIT STATUS");
    page.text("0, or 1 if it could not start.");
    page.section("SEE ALSO");
    page.text("kms-cli(1), kmsfs(1), kms-node(8)");
    page.text
}

/// `kms-cli.1`.
#[must_use]
pub fn kms_cli() -> String {
    let mut page = Page::new("kms-cli", 1, "calls a method of kmsd");
    page.section("SYNOPSIS");
    page.line(".B kms-cli");
    page.text("[-option[=value]]… METHOD [argument]…");
    page.line(".br");
    page.line(".B kms-cli");
    page.text("[-option[=value]]… help [METHOD]");
    page.section("DESCRIPTION");
    page.text(
        "Prints the result: a text bare, nothing for null, anything else as JSON. Arguments that are not text are JSON. \
         Secrets belong on standard input (-stdinpass, -stdin), not into the list of processes.",
    );
    page.section("OPTIONS");
    page.options(CLI);
    page.section("METHODS");
    for method in method::all() {
        page.item(&method.usage(), method.about);
    }
    page.section("EXIT STATUS");
    page.text(
        "0; the lowest 8 bits of the number of the error that kmsd gave, 106 for what was revoked, say; 1 if there was no \
         answer. Errors are on standard error.",
    );
    page.section("EXAMPLES");
    for example in [
        "kms-cli -stdinpass unlock 600",
        "kms-cli encrypt_file $PWD/film.mkv $PWD/film.sealed",
        "kms-cli grant LABEL \"bob ttl=7d m=3/5\"",
        "kms-cli -named decrypt_file source=$PWD/film.sealed target=$PWD/film.mkv ticket=kms-ticket-1-…",
    ] {
        page.line(".br");
        page.text(example);
    }
    page.section("SEE ALSO");
    page.text("kmsd(8)");
    page.text
}

/// A page under way.
struct Page {
    text: String,
}

impl Page {
    fn new(name: &str, section: u8, about: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut page = Self {
            text: format!(".TH {name} {section}  \"{name} {version}\"\n"),
        };
        page.section("NAME");
        page.text(&format!("{name} - {about}"));
        page
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn section(&mut self, name: &str) {
        self.line(&format!(".SH \"{name}\""));
    }

    fn item(&mut self, name: &str, about: &str) {
        self.line(".TP");
        self.line(&format!("\\fB{}\\fR", escaped(name)));
        self.text(about);
    }

    fn options(&mut self, known: &[Known]) {
        for option in known {
            self.item(&format!("-{}", option.name), option.about);
        }
    }

    /// Text, in which nothing is a command.
    fn text(&mut self, text: &str) {
        let text = escaped(text);
        if text.starts_with(['.', '\'']) {
            self.text.push_str("\\&");
        }
        self.line(&text);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
}
