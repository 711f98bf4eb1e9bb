//! The programs printed in `docs/` do what is said beside them, as they are printed, against five nodes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kms_tests::{Devnet, TIMEOUT, eventually, program};

use crate::languages::packages;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The first program in a document.
pub(crate) fn printed(document: &str, language: &str) -> String {
    let text = fs::read_to_string(root().join("docs").join(document)).unwrap();
    let fence = format!("```{language}\n");
    let (_, rest) = text.split_once(&fence).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// A person who has just installed kmsfs and its packages, in a directory of their own.
struct Reader<'a> {
    dir: PathBuf,
    net: &'a Devnet,
    packages: &'a Path,
}

impl<'a> Reader<'a> {
    fn new(root: &Path, name: &str, net: &'a Devnet, packages: &'a Path) -> Self {
        let dir = root.join(name);
        fs::create_dir_all(dir.join("home")).unwrap();
        Self { dir, net, packages }
    }

    /// Copies a program and runs it.
    fn runs(&self, name: &str, text: &str, by: &[&str]) -> String {
        fs::write(self.dir.join(name), text).unwrap();
        let mut command = self.command(by[0]);
        told(&command.args(&by[1..]).arg(name).output().unwrap())
    }

    fn command(&self, program_name: &str) -> Command {
        let programs = program("kmsd");
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", programs.parent().unwrap().display());
        let mut command = Command::new(program_name);
        command
            .current_dir(&self.dir)
            .env("PATH", path)
            // Where the machine has no such language, a shell complains.
            .env("LC_ALL", "C")
            .env("KMSFS_HOME", self.dir.join("home"))
            .env("KMSFS_LEDGER", &self.net.ledger)
            .env("KMSFS_BOOTSTRAP", &self.net.bootstrap)
            .env("PYTHONPATH", self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null());
        command
    }
}

fn told(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    format!("{}{errors}", String::from_utf8_lossy(&output.stdout))
}

#[test]
fn the_programs_in_the_documents_share_and_withdraw_as_printed() {
    let root_dir = tempfile::tempdir().unwrap();
    let root_dir = root_dir.path();
    let net = Devnet::start(root_dir, 5);
    let packages = packages(root_dir);
    let reader = |name| Reader::new(root_dir, name, &net, &packages);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let text = printed("PYTHON.md", "python");
            says_so(&reader("python").runs("program.py", &text, &["python3"]));
        });
        scope.spawn(|| {
            let reader = reader("javascript");
            let modules = reader.dir.join("node_modules");
            fs::create_dir(&modules).unwrap();
            symlink(packages.join("node"), modules.join("kms")).unwrap();
            let text = printed("JAVASCRIPT.md", "js");
            says_so(&reader.runs("program.mjs", &text, &["node"]));
        });
        scope.spawn(|| {
            // Built from the file which the document shows.
            let example = root().join("kms-client/examples/program.rs");
            let example = fs::read_to_string(example).unwrap();
            let (_, text) = example.split_once("\n\n").unwrap();
            assert_eq!(printed("RUST.md", "rust"), text);
            let built = program("kmsd").with_file_name("examples/program");
            let said = reader("rust").command(built.to_str().unwrap()).output();
            says_so(&told(&said.unwrap()));
        });
        scope.spawn(|| {
            let reader = reader("shell");
            let port = format!("rpcport={}\n", kms_tests::port());
            fs::write(reader.dir.join("home/kmsd.conf"), port).unwrap();
            let text = printed("JSON-RPC.md", "bash");
            let said =
                std::panic::catch_unwind(|| reader.runs("program.sh", &text, &["bash", "-e"]));
            if said.is_err() {
                // It may not have come so far.
                let _ = reader.command("kms-cli").arg("stop").output();
            }
            let said = said.unwrap();
            eventually("kmsd to end", TIMEOUT, || {
                (!reader.dir.join("home/.cookie").exists()).then_some(())
            });
            assert!(said.contains("\nlaunch friday\n"), "{said}");
            assert!(said.contains("error code: -106\n"), "{said}");
            assert!(said.contains("exit status 106\n"), "{said}");
        });
    });
}

/// What a program prints once it has run to its end.
#[track_caller]
fn says_so(said: &str) {
    let mut lines = said.lines();
    assert_eq!(lines.next(), Some("launch friday"), "{said}");
    let refused = lines.next().unwrap_or_default();
    assert!(refused.starts_with("REVOKED: "), "{said}");
    assert_eq!(lines.next(), None, "{said}");
}
