//! Programs that wait no longer for their answer.
//!
//! Owns: [`given_up`], which resolves when the thread that waits for a call was sent a signal that is to end it.
//!
//! # Why by looking
//! The kernel tells a file system of a signal by FUSE_INTERRUPT, which fuser 0.18 refuses (ENOSYS) before anybody sees it; the kernel
//! then sends no more of them, and the caller sleeps until it is answered, whatever signals it gets. They stay pending, which
//! `/proc` shows. So whoever waits long is looked at now and then.
//!
//! # Which signals
//! Those by which people and supervisors end a program. Others (children, timers, a runtime's own) do not interrupt a call on a local
//! disk either, and programs do not expect it.

use std::time::Duration;

/// How often a thread that waits is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What makes a call be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// SIGINT, SIGTERM, SIGHUP or SIGQUIT, also where the program has a handler; and SIGKILL.
    Ending,
    /// Only what certainly ends the process: it will not see the answer.
    Fatal,
}

/// Resolves when `thread` was sent such a signal; never where it cannot be seen (0).
pub async fn given_up(thread: u32, signals: Signals) {
    if thread == 0 {
        return std::future::pending().await;
    }
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
        if is_signalled(&status, signals) {
            return;
        }
    }
}

/// Whether `/proc/<thread>/status` tells of such a signal (proc_pid_status(5)).
fn is_signalled(status: &str, signals: Signals) -> bool {
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
    };
    let bit = |signal: i32| 1u64 << (signal - 1);
    let ending = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT].map(bit);
    let mut heard = ending.iter().sum::<u64>() & !(mask("SigBlk") | mask("SigIgn"));
    if signals == Signals::Fatal {
        heard &= !mask("SigCgt");
    }
    // A signal that ends a process becomes a SIGKILL of each of its threads.
    (mask("SigPnd") | mask("ShdPnd")) & (heard | bit(libc::SIGKILL)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(own: u64, shared: u64, blocked: u64, ignored: u64, caught: u64) -> String {
        format!(
            "Name:\tx\nSigQ:\t0/1\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
        )
    }

    #[test]
    fn only_signals_that_are_to_end_a_program_count() {
        let (int, kill, child) = (1 << 1, 1 << 8, 1 << 16);
        let seen = |status: String| [Signals::Ending, Signals::Fatal].map(|s| is_signalled(&status, s));
        assert_eq!(seen(status(0, 0, 0, 0, 0)), [false, false]);
        assert_eq!(seen(status(0, int, 0, 0, 0)), [true, true]);
        assert_eq!(seen(status(kill, 0, u64::MAX, 0, 0)), [true, true]);
        assert_eq!(seen(status(0, int, 0, 0, int)), [true, false], "it has a handler");
        assert_eq!(seen(status(0, int, int, 0, 0)), [false, false], "blocked");
        assert_eq!(seen(status(0, int, 0, int, 0)), [false, false], "ignored");
        assert_eq!(seen(status(child, child, 0, 0, child)), [false, false]);
        assert_eq!(seen(String::new()), [false, false], "the thread is gone");
    }
}
