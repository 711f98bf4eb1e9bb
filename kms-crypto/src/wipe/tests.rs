//! What of a secret is left in the process's memory when its owner has gone: nothing, anywhere.
//!
//! The test runs itself again, alone in a process of its own, and reads that process's memory: every mapping
//! that is readable and writable, the dead part of the stack included. What it looks for it keeps masked.

mod cases;
mod memory;

use std::env;
use std::process::Command;
use std::sync::Mutex;

use memory::{Memory, Needle};

const NAME: &str = "wipe::tests::no_secret_outlives_its_owner";
/// What was found that should not be there.
static LEFT: Mutex<Vec<String>> = Mutex::new(Vec::new());
const ALONE: &str = "KMS_ALONE_WITH_ITS_MEMORY";

#[test]
fn no_secret_outlives_its_owner() {
    if env::var_os(ALONE).is_some() {
        cases::run_all();
        let left = LEFT.lock().unwrap();
        return assert!(left.is_empty(), "{left:#?}");
    }
    let itself = env::current_exe().unwrap();
    let done = Command::new(itself)
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert!(said.contains("1 passed"), "it must have run: {said}");
}

/// Makes something with secrets, sees that they are in memory, drops it, and sees that they are not.
///
/// `inspect` names the secrets. It runs in a thread of its own, whose stack is wiped, so that
/// looking leaves nothing behind.
fn check<T: Sync>(
    what: &str,
    make: impl FnOnce() -> T,
    inspect: impl FnOnce(&T, &mut Secrets) + Send,
) {
    let value = far_below(make);
    let secrets = Secrets::of(&value, inspect);
    let memory = &mut Memory::new();
    for (name, places) in find(memory, &secrets.held) {
        assert!(
            !places.is_empty(),
            "{what}: {name} is not where it must be: the search is blind"
        );
    }
    drop(value);
    let left = find(memory, secrets.held.iter().chain(&secrets.passing));
    let left = left.filter(|(_, places)| !places.is_empty());
    let told = left.map(|(name, places)| format!("{what}: {name} is still at {places:?}"));
    LEFT.lock().unwrap().extend(told);
}

/// Runs `make` further down the stack than anything this module does later, which would cover its traces.
#[inline(never)]
fn far_below<T>(make: impl FnOnce() -> T) -> T {
    let between = [0u8; 16 * 1024];
    std::hint::black_box(&between);
    super::deeper(make)
}

fn find<'a>(
    memory: &mut Memory,
    secrets: impl IntoIterator<Item = &'a (String, Needle)>,
) -> impl Iterator<Item = (&'a String, Vec<String>)> {
    let (names, needles): (Vec<_>, Vec<_>) = secrets.into_iter().map(|(a, b)| (a, b)).unzip();
    names.into_iter().zip(memory.search(&needles))
}

/// What to look for.
#[derive(Default)]
struct Secrets {
    /// What is in memory as long as the owner lives.
    held: Vec<(String, Needle)>,
    /// What was computed with on the way.
    passing: Vec<(String, Needle)>,
}

impl Secrets {
    fn of<T: Sync>(value: &T, inspect: impl FnOnce(&T, &mut Self) + Send) -> Self {
        let mut secrets = Self::default();
        let looking = || {
            let inspect = || inspect(value, &mut secrets);
            super::deeper(inspect);
            zeroize::zeroize_stack::<{ 512 * 1024 }>();
        };
        std::thread::scope(|scope| scope.spawn(looking).join().unwrap());
        secrets
    }

    /// Bytes that are held as they are.
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.held.push((name.to_owned(), Needle::new(bytes.iter())));
        self.backwards(name, bytes);
    }

    /// A number that is held with its lowest byte first, as the processor does.
    fn number(&mut self, name: &str, bytes: &[u8]) {
        self.held.push((
            format!("{name} as a number"),
            Needle::new(bytes.iter().rev()),
        ));
        self.passing
            .push((name.to_owned(), Needle::new(bytes.iter())));
    }

    /// Bytes that were only computed with.
    fn passing(&mut self, name: &str, bytes: &[u8]) {
        self.passing
            .push((name.to_owned(), Needle::new(bytes.iter())));
        self.backwards(name, bytes);
    }

    fn backwards(&mut self, name: &str, bytes: &[u8]) {
        self.passing.push((
            format!("{name} as a number"),
            Needle::new(bytes.iter().rev()),
        ));
    }
}
