//! One mount from beginning to end.

use std::{io::IsTerminal, path::Path, sync::Arc, time::Duration};

use kms_client::Kind;
use kms_crypto::{format::config::StoreConfig, key::IdentitySecret};
use nix::sys::signal::{SigSet, Signal};

use super::{
    Memory, Mounted, Plan, Prepared, SharedView, answer::Role, hidden, options::Access, store,
};
use crate::{
    config::Config,
    control::Server,
    failure::{Exit, Failure, sentence},
    fuse,
    mount::answer::Answers,
    share::{self, Network, Owner, People, Recipient},
    vfs::{self, Vfs, VfsError},
};

/// How long sharing work may go on after the unmount. What is left over is resumed by the next mount.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// Mounts and stays until the mount ends.
pub(super) fn run(
    plan: &Plan,
    secret: IdentitySecret,
    prepared: Prepared,
    announce: &mut dyn FnMut(&Mounted),
) -> Result<(), Failure> {
    // Before any thread is made, so that all of them inherit it.
    let signals = block_signals();
    start_log();
    let config = plan.config()?;
    let stored = store::read(&plan.target.store)?;
    let warnings = [
        store::warning(stored.scheme),
        store::exchanged(&plan.home, &plan.target.store, &stored),
    ];
    let warnings: Vec<_> = warnings.into_iter().flatten().collect();
    let warning = (!warnings.is_empty()).then(|| warnings.join("\n"));
    let (vfs, role) = open(plan, &config, &stored, secret)?;
    let point = &plan.target.point;
    let mount = fuse::mount(Arc::clone(&vfs), point, &mount_options(plan))
        .map_err(|err| cannot_mount(point, &err))?;
    let unmounter = mount.unmounter();
    let answers = Arc::new(Answers::new(plan, &config, Arc::clone(&vfs), role.clone()));
    let server = Server::start(&plan.home.runtime, point, answers);
    let answering = std::fs::read_dir(point)
        .map(drop)
        .map_err(|err| cannot_mount(point, &err));
    if let Err(failure) = server
        .as_ref()
        .map(drop)
        .map_err(Clone::clone)
        .and(answering)
    {
        let _ = unmounter.unmount();
        let _ = mount.wait(|| {});
        return Err(failure);
    }
    std::thread::spawn(move || {
        let _ = signals.wait();
        let _ = unmounter.unmount();
    });
    announce(&Mounted {
        store: plan.target.store.clone(),
        point: point.clone(),
        pid: std::process::id(),
        read_only: plan.options.read_only,
        shared: role.recipient().map(|it| shared_view(it, plan)),
        made: prepared == Prepared::Made,
        revived: prepared == Prepared::Revived,
        warning,
    });
    super::notify::ready();
    let result = mount.wait(|| {
        drop(server);
        if let Role::Owner(owner) = &role {
            owner.finish(LAST_WORDS);
        }
    });
    result.map_err(|err| {
        Failure::new(Exit::Io, "Not everything could be written when unmounting.")
            .why(sentence(&err))
            .now("Mount again: what is in the journal is written then.")
    })
}

fn block_signals() -> SigSet {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGHUP);
    let _ = signals.thread_block();
    signals
}

/// Warnings to standard error; more with `KMSFS_LOG=debug`, which names files.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KMSFS_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// Opens a store without mounting it, and without the work that sharing does.
pub(super) fn open_for_check(plan: &Plan, memory: Memory) -> Result<Arc<Vfs>, Failure> {
    let config = plan.config()?;
    let stored = store::read(&plan.target.store)?;
    let secret = Arc::new(crate::unlock::unlock(&plan.identity, &plan.source)?);
    if memory == Memory::Forget {
        let mut dir = vfs_options(plan, &stored).state_dir;
        if secret.public() != stored.owner {
            dir.push(store::reader_dir(&secret.public()));
        }
        Vfs::forget_seen(&dir);
    }
    if secret.public() == stored.owner {
        let options = vfs::Options {
            for_check: true,
            ..vfs_options(plan, &stored)
        };
        return open_own(plan, options, &stored, &secret);
    }
    Ok(open_shared(plan, &config, &stored, secret)?.0)
}

fn open(
    plan: &Plan,
    config: &Config,
    stored: &StoreConfig,
    secret: IdentitySecret,
) -> Result<(Arc<Vfs>, Role), Failure> {
    let secret = Arc::new(secret);
    if secret.public() != stored.owner {
        let (vfs, recipient) = open_shared(plan, config, stored, secret)?;
        return Ok((vfs, Role::Recipient(recipient)));
    }
    let vfs = open_own(plan, vfs_options(plan, stored), stored, &secret)?;
    let parts = share::OwnerParts {
        root: plan.target.store.clone(),
        store: stored.store,
        key: store::open(&plan.target.store, stored, &secret)?,
        identity: secret,
        people: People::new(plan.home.contacts.clone()),
        network: Network::new(&config.network, config.net_timeout),
        threshold: config.threshold,
        uid: nix::unistd::geteuid().as_raw(),
        tunnel: !plan.options.no_tunnel,
    };
    let owner = Owner::start(parts, &vfs)?;
    vfs.set_verbs(Arc::clone(&owner) as _);
    vfs.set_events(Arc::clone(&owner) as _);
    Ok((vfs, Role::Owner(owner)))
}

fn open_own(
    plan: &Plan,
    options: vfs::Options,
    stored: &StoreConfig,
    secret: &Arc<IdentitySecret>,
) -> Result<Arc<Vfs>, Failure> {
    let root = &plan.target.store;
    let key = store::open(root, stored, secret)?;
    crate::home::make_private_dir(&options.state_dir)?;
    let info = store::info(stored);
    Vfs::open_owner(root, info, key, Arc::clone(secret), options)
        .map_err(|err| cannot_open(plan, &err))
}

fn open_shared(
    plan: &Plan,
    config: &Config,
    stored: &StoreConfig,
    secret: Arc<IdentitySecret>,
) -> Result<(Arc<Vfs>, Arc<Recipient>), Failure> {
    let root = &plan.target.store;
    let me = secret.public();
    let recipient = Arc::new(Recipient::new(share::RecipientParts {
        root: root.clone(),
        store: stored.store,
        owner: stored.owner,
        identity: secret,
        people: People::new(plan.home.contacts.clone()),
        network: Network::new(&config.network, config.net_timeout),
    }));
    let (keys, shares) = (Arc::clone(&recipient), Arc::clone(&recipient));
    let mut options = vfs_options(plan, stored);
    options.state_dir.push(store::reader_dir(&me));
    let vfs = Vfs::open_recipient(root, store::info(stored), keys, shares, options)
        .map_err(|err| cannot_open(plan, &err))?;
    recipient.attach(&vfs);
    vfs.set_verbs(Arc::clone(&recipient) as _);
    Ok((vfs, recipient))
}

fn vfs_options(plan: &Plan, stored: &StoreConfig) -> vfs::Options {
    let state_dir = store::state_dir(&plan.home, &plan.target.store, stored);
    vfs::Options {
        config: Some(store::digest(stored)),
        ..vfs::Options::new(state_dir)
    }
}

fn mount_options(plan: &Plan) -> fuse::MountOptions {
    fuse::MountOptions {
        source: format!(
            "{}{}",
            super::table::SOURCE_PREFIX,
            plan.target.store.display()
        ),
        allow_other: plan.options.access != Access::Owner,
        read_only: plan.options.read_only,
        posix_errno: plan.options.posix_errno,
        kernel: plan.options.kernel.clone(),
        ..fuse::MountOptions::default()
    }
}

fn cannot_open(plan: &Plan, err: &VfsError) -> Failure {
    let store = plan.target.store.display();
    match err {
        VfsError::Os(rustix::io::Errno::BUSY | rustix::io::Errno::AGAIN) => {
            let elsewhere = super::running::all()
                .into_iter()
                .find(|entry| entry.store().as_ref() == Some(&plan.target.store));
            let at = match elsewhere {
                Some(entry) => format!("It is mounted at {}.", entry.point.display()),
                None => "Another process has it open.".to_owned(),
            };
            Failure::new(
                Exit::CannotCreate,
                format!("The store {store} is already mounted."),
            )
            .why(at)
            .now("Its owner mounts a store once on a machine; unmount it there first.")
        }
        VfsError::Older | VfsError::OldConfiguration => {
            Failure::new(Exit::Data, format!("Cannot open the store {store}."))
                .why(format!("{}.", share::capital(&err.to_string())))
                .now(format!(
                    "If you restored a backup: kmsfs fsck --accept-older {store}   Otherwise somebody put an earlier version in place."
                ))
        }
        VfsError::Damaged(_) => {
            Failure::new(Exit::Data, format!("Cannot open the store {store}."))
                .why(format!("{}.", share::capital(&err.to_string())))
                .now(format!(
                    "See what is wrong: kmsfs fsck {store}   and put right what can be: kmsfs fsck --repair {store}"
                ))
        }
        _ => Failure::new(Exit::Io, format!("Cannot open the store {store}."))
            .why(format!("{}.", share::capital(&err.to_string()))),
    }
}

fn cannot_mount(point: &Path, err: &std::io::Error) -> Failure {
    let failure = Failure::new(
        Exit::System,
        format!("Cannot mount at {}.", point.display()),
    )
    .why(sentence(err));
    match err.kind() {
        std::io::ErrorKind::PermissionDenied => failure.now(
            "allow_other needs the line user_allow_other in /etc/fuse.conf; a container needs --device /dev/fuse --cap-add SYS_ADMIN",
        ),
        std::io::ErrorKind::NotFound => failure.now("Install the package fuse3."),
        _ => failure,
    }
}

fn shared_view(recipient: &Recipient, plan: &Plan) -> SharedView {
    let (owner, known) = recipient.owner_name();
    let now = crate::time::now();
    let tickets = recipient.all_tickets();
    let live: Vec<_> = tickets
        .iter()
        .filter(|ticket| ticket.revoked.is_none() && ticket.expiry > now)
        .collect();
    let count = |kind: Kind| live.iter().filter(|ticket| ticket.kind == kind).count();
    let files = count(Kind::File);
    SharedView {
        owner,
        known,
        files,
        dirs: count(Kind::Dir),
        hidden: hidden::count(&plan.target.store, &live),
    }
}
