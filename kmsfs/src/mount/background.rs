//! The filesystem as a process of its own.
//!
//! The parent starts this program again in the foreground, hands the secret key
//! over a pipe and reads one line back: the mount answers, or why it does not.
//! So nothing has to be unsafe, and no passphrase is asked for twice.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use kms_crypto::key::IdentitySecret;
use zeroize::Zeroizing;

use super::{Mounted, Plan, Prepared, session};
use crate::{
    control::socket_name,
    failure::{Exit, Failure, sentence},
    home::make_private_dir,
};

/// Larger logs are begun anew at the next mount.
const MAX_LOG: u64 = 1 << 20;

/// The parent: starts the process and waits until its mount answers.
pub(super) fn start(
    plan: &Plan,
    secret: &IdentitySecret,
    prepared: Prepared,
) -> Result<Mounted, Failure> {
    let (log, log_path) = open_log(plan)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("kmsfs")
        .args(["mount", "--handover"])
        .arg("--identity")
        .arg(&plan.identity);
    // What was sloppy has been checked; the other side need not complain.
    command.arg("-s");
    for option in &plan.written {
        command.arg("-o").arg(option);
    }
    command
        .arg("--")
        .arg(&plan.target.store)
        .arg(&plan.target.point)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    let refuse = |err: std::io::Error| {
        Failure::new(Exit::System, "Cannot start the filesystem's process.").why(sentence(&err))
    };
    let mut child = command.spawn().map_err(refuse)?;
    let mut stdin = child.stdin.take().expect("it was asked to be piped");
    stdin
        .write_all(secret.to_bytes().as_ref())
        .map_err(refuse)?;
    drop(stdin);
    let stdout = child.stdout.take().expect("it was asked to be piped");
    let mut line = String::new();
    BufReader::new(stdout)
        .read_line(&mut line)
        .map_err(refuse)?;
    let said: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
    if let Some(failure) = Failure::from_json(&said) {
        let _ = child.wait();
        return Err(failure);
    }
    match serde_json::from_value::<Mounted>(said) {
        Ok(mounted) => Ok(Mounted {
            made: prepared == Prepared::Made,
            revived: prepared == Prepared::Revived,
            ..mounted
        }),
        Err(_) => {
            let _ = child.wait();
            Err(Failure::new(
                Exit::Software,
                "The filesystem's process ended before the mount answered.",
            )
            .now(format!("See {}", log_path.display())))
        }
    }
}

fn open_log(plan: &Plan) -> Result<(File, PathBuf), Failure> {
    let dir = plan.home.state.join("log");
    make_private_dir(&dir)?;
    let name = socket_name(&plan.target.point).replace(".sock", ".log");
    let path = dir.join(name);
    let old = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    let log = options
        .open(&path)
        .and_then(|log| {
            if old > MAX_LOG {
                log.set_len(0)?;
            }
            Ok(log)
        })
        .map_err(|err| Failure::io("write", &path, &err))?;
    Ok((log, path))
}

/// The process of its own.
pub(super) fn serve(plan: &Plan) -> Result<(), Failure> {
    // Fails only for a process that leads a group already, as when started by hand.
    let _ = nix::unistd::setsid();
    let _ = std::env::set_current_dir("/");
    let result = receive_secret().and_then(|secret| {
        session::run(plan, secret, Prepared::AsItWas, &mut |mounted| {
            report(&serde_json::json!(mounted));
        })
    });
    if let Err(failure) = &result {
        // After the report this goes nowhere; the log has it too.
        report(&failure.to_json());
    }
    result
}

fn receive_secret() -> Result<IdentitySecret, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    let refuse = || Failure::new(Exit::Software, "No secret key was handed over.");
    std::io::stdin()
        .lock()
        .read_exact(bytes.as_mut())
        .map_err(|_| refuse())?;
    IdentitySecret::from_bytes(&bytes).map_err(|_| refuse())
}

/// Tells the parent, and lets go of the terminal's pipes.
fn report(document: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{document}");
    let _ = out.flush();
    if let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&null);
        let _ = nix::unistd::dup2_stdin(&null);
    }
}
