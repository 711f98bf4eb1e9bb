//! Network namespaces: one for the whole test, which ends with it, and one for each node, on a bridge.

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use kms_tests::{TIMEOUT, eventually};
use nix::unistd::geteuid;

/// Tells the inner test that it is in a network of its own.
const INSIDE: &str = "KMS_NETNS";
const BRIDGE: &str = "hub";
const NETWORK: [u8; 3] = [10, 77, 0];
/// The test's own place on the bridge.
pub(crate) const OUTSIDE: u8 = 254;

/// Runs a test in namespaces of its own, for the network, mounts and processes: nothing of it is left behind, however it
/// ends. Without root that takes a system that lets people have user namespaces.
#[track_caller]
pub(crate) fn in_a_network_of_its_own(name: &str, test: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        run(
            "ip",
            &[
                "link",
                "add",
                BRIDGE,
                "type",
                "bridge",
                "forward_delay",
                "0",
            ],
        );
        let own = format!("{}/24", address(OUTSIDE));
        run("ip", &["address", "add", &own, "dev", BRIDGE]);
        run("ip", &["link", "set", BRIDGE, "up"]);
        run("ip", &["link", "set", "lo", "up"]);
        return test();
    }
    let user: &[&str] = if geteuid().is_root() {
        &[]
    } else {
        &["--user", "--map-root-user"]
    };
    let output = Command::new("unshare")
        .args(user)
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("unshare of util-linux");
    println!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "the test failed in its namespaces, or there are none: they need root, or user namespaces"
    );
}

/// A machine of its own, as far as the network goes.
pub(crate) struct Place {
    number: u8,
    /// Keeps the namespace when nothing else runs in it.
    holder: Child,
}

impl Place {
    /// A new one, plugged in.
    pub(crate) fn new(number: u8) -> Self {
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "infinity"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", holder.id());
        eventually("a network namespace", TIMEOUT, || {
            fs::read_link(&theirs).ok().filter(|it| *it != own)
        });
        let place = Self { number, holder };
        let (cable, pid) = (place.cable(), place.holder.id().to_string());
        run(
            "ip",
            &[
                "link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &pid,
            ],
        );
        run("ip", &["link", "set", &cable, "master", BRIDGE, "up"]);
        let inside = format!(
            "ip link set lo up && ip address add {}/24 dev eth0 && ip link set eth0 up",
            place.address()
        );
        let done = place.command("sh").args(["-c", &inside]).status().unwrap();
        assert!(done.success(), "{inside}");
        place
    }

    /// Its address.
    pub(crate) const fn address(&self) -> Ipv4Addr {
        address(self.number)
    }

    /// Pulls the cable, so that packets vanish, or plugs it in again.
    pub(crate) fn plug(&self, is_in: bool) {
        let state = if is_in { "up" } else { "down" };
        run("ip", &["link", "set", &self.cable(), state]);
    }

    /// A command that runs there.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.holder.id()))
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// What a command is given to, to run there.
    pub(crate) fn words(&self) -> Vec<String> {
        let net = format!("--net=/proc/{}/ns/net", self.holder.id());
        vec!["nsenter".to_owned(), net]
    }

    /// Its network namespace.
    pub(crate) fn namespace(&self) -> fs::File {
        fs::File::open(format!("/proc/{}/ns/net", self.holder.id())).unwrap()
    }

    fn cable(&self) -> String {
        format!("cable{}", self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

pub(crate) const fn address(number: u8) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, number)
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status();
    let status = status.unwrap_or_else(|error| panic!("{program} (iproute2): {error}"));
    assert!(status.success(), "{program} {args:?}");
}
