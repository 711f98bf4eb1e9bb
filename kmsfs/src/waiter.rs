//! Who waits for what a thread does, and whether he still wants it.
//!
//! A program that is told to stop while it waits for us in the kernel stops only when we have answered; and the word that
//! the kernel would send us about it (`FUSE_INTERRUPT`) is not passed on to us by fuser. So whoever waits long looks now and
//! then whether a signal that ends programs is waiting, too.

use std::cell::Cell;
use std::fs;

use nix::sys::signal::Signal;

thread_local! {
    static WAITER: Cell<Waiter> = const { Cell::new(Waiter { thread: 0 }) };
}

/// A thread of some program; or nobody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Waiter {
    thread: u32,
}

/// By which somebody says that a program is to do no more of what it does.
const ENDING: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGKILL,
    Signal::SIGALRM,
    Signal::SIGTERM,
];

impl Waiter {
    /// For whom this thread works.
    pub(crate) fn here() -> Self {
        WAITER.get()
    }

    /// Works for this thread of a program.
    pub(crate) fn serve<T>(thread: u32, work: impl FnOnce() -> T) -> T {
        /// Also if the work panics: the thread goes on with somebody else's.
        struct Nobody;
        impl Drop for Nobody {
            fn drop(&mut self) {
                WAITER.set(Waiter { thread: 0 });
            }
        }
        let _nobody = Nobody;
        WAITER.set(Self { thread });
        work()
    }

    /// Whether a signal is waiting that ends what he does. Who cannot be seen still wants it.
    pub(crate) fn has_left(self) -> bool {
        if self.thread == 0 {
            return false;
        }
        let status = fs::read_to_string(format!("/proc/{}/status", self.thread));
        status.is_ok_and(|status| is_ending(&status))
    }
}

/// Whether proc_pid_status(5) has a signal that is to be delivered, and is one of those.
fn is_ending(status: &str) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0)
    };
    let waiting = (mask("SigPnd:") | mask("ShdPnd:")) & !mask("SigBlk:") & !mask("SigIgn:");
    ENDING
        .iter()
        .any(|signal| waiting & 1 << (*signal as i32 - 1) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_told_to_stop_wants_nothing_more() {
        let status = |pending: &str, shared: &str, blocked: &str| {
            format!(
                "Name:\tcat\nSigPnd:\t{pending}\nShdPnd:\t{shared}\nSigBlk:\t{blocked}\nSigIgn:\t0000000000001000\n"
            )
        };
        let [none, interrupt, kill, child] = [
            "0000000000000000",
            "0000000000000002",
            "0000000000000100",
            "0000000000010000",
        ];
        assert!(is_ending(&status(none, interrupt, none)));
        assert!(is_ending(&status(kill, none, none)));
        assert!(!is_ending(&status(none, interrupt, interrupt)), "blocked");
        assert!(!is_ending(&status(none, child, none)), "a child ended");
        assert!(!is_ending(&status(none, none, none)));
        assert!(!is_ending("nonsense"));
    }

    #[test]
    fn a_thread_works_for_whom_it_was_told_and_then_for_nobody() {
        assert!(!Waiter::here().has_left());
        Waiter::serve(std::process::id(), || {
            assert_ne!(Waiter::here(), Waiter { thread: 0 });
            assert!(!Waiter::here().has_left());
        });
        assert_eq!(Waiter::here(), Waiter { thread: 0 });
    }
}
