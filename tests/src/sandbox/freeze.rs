//! The freeze between invocations, imitated by SIGSTOP: for the process groups, and for descendants that left them.
//!
//! As in Lambda nothing in the environment runs until the next event. Unlike there `CLOCK_MONOTONIC` goes on, which
//! only a time namespace could change; and a process that was adopted by another parent is not found.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use super::shared::Shared;
use super::state::State;
use crate::party::{Party, Signal};

/// How long the kernel may take until every thread stands still; one in a system call that can't be interrupted takes
/// longest.
const STILL_WAIT: Duration = Duration::from_secs(2);
/// Pause between two looks.
const STILL_POLL: Duration = Duration::from_millis(1);

impl State {
    /// Stops every process where it stands; [`settle`] waits until they do stand. Nothing happens if they are frozen.
    pub(crate) fn freeze(&mut self) {
        if std::mem::replace(&mut self.frozen, true) {
            return;
        }
        self.trace.push(&Party::Platform, "freeze", Value::Null);
        self.signal_all(Signal::Stop);
    }

    /// Lets every process go on, whoever has stopped it. Nothing happens if they are not frozen.
    pub(crate) fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            self.trace.push(&Party::Platform, "thaw", Value::Null);
            self.signal_all(Signal::Cont);
        }
    }

    fn signal_all(&self, signal: Signal) {
        for process in self.processes.iter().filter(|process| process.exit.is_none()) {
            process.signal(signal);
        }
        for stray in self.members().into_iter().filter(|member| !member.in_group) {
            // It may have ended since.
            kill_process(stray.pid, signal.raw()).ok();
        }
    }

    fn members(&self) -> Vec<Member> {
        let running = self.processes.iter().filter(|process| process.exit.is_none());
        members(&running.map(|process| process.pid).collect())
    }
}

/// Waits until every thread of a frozen environment stands still. False if one does not, which the trace tells.
pub(crate) async fn settle(shared: &Shared) -> bool {
    let end = Instant::now() + STILL_WAIT;
    loop {
        let still = shared.update(|state| {
            if !state.frozen {
                return true;
            }
            let members = state.members();
            // What was forked in the meantime, and has left the group, is stopped too.
            for stray in members.iter().filter(|member| !member.in_group && !member.stopped) {
                kill_process(stray.pid, Signal::Stop.raw()).ok();
            }
            members.iter().all(|member| member.still)
        });
        if still || Instant::now() >= end {
            if !still {
                shared.update(|state| state.trace.push(&Party::Platform, "not_frozen", json!({})));
            }
            return still;
        }
        tokio::time::sleep(STILL_POLL).await;
    }
}

/// A process of the environment.
struct Member {
    pid: Pid,
    in_group: bool,
    /// Stopped, or dead, in all of its threads.
    stopped: bool,
    /// As `stopped`, or in a system call that goes first, from which no thread comes back before it is thawed: the
    /// parent of a `vfork` stays in that for as long as its stopped child.
    still: bool,
}

/// The fields of `/proc/<pid>/stat` that matter here.
struct Stat {
    pid: Pid,
    parent: i32,
    group: i32,
}

/// Everyone in these process groups, and the descendants of the leaders.
fn members(leaders: &HashSet<Pid>) -> Vec<Member> {
    let leaders: HashSet<i32> = leaders.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    let processes: Vec<Stat> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| stat(&fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect();
    let mut ours = leaders.clone();
    loop {
        let before = ours.len();
        let related = |stat: &&Stat| leaders.contains(&stat.group) || ours.contains(&stat.parent);
        let found: Vec<i32> =
            processes.iter().filter(related).map(|stat| stat.pid.as_raw_nonzero().get()).collect();
        ours.extend(found);
        if ours.len() == before {
            break;
        }
    }
    processes
        .into_iter()
        .filter(|stat| ours.contains(&stat.pid.as_raw_nonzero().get()))
        .map(|stat| Member {
            in_group: leaders.contains(&stat.group),
            stopped: all_threads(stat.pid, &['T', 't', 'Z', 'X']),
            still: all_threads(stat.pid, &['T', 't', 'Z', 'X', 'D']),
            pid: stat.pid,
        })
        .collect()
}

/// `pid (name) state parent group …`; the name may hold anything.
fn stat(text: &str) -> Option<Stat> {
    let (head, rest) = text.rsplit_once(')')?;
    let pid = Pid::from_raw(head.split(' ').next()?.parse().ok()?)?;
    let mut fields = rest.split_whitespace().skip(1).map(|field| field.parse().ok());
    Some(Stat { pid, parent: fields.next()??, group: fields.next()?? })
}

/// Whether each thread is in one of these states of `/proc`; one that is gone is.
fn all_threads(pid: Pid, states: &[char]) -> bool {
    let tasks = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("task");
    let Ok(tasks) = fs::read_dir(tasks) else { return true };
    let state = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("stat")).ok()?;
        text.rsplit_once(')')?.1.trim_start().chars().next()
    };
    tasks.flatten().all(|task| state(task).is_none_or(|state| states.contains(&state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let read = stat("4711 (a ) R 1 2 (b) S 17 4700 4700 0 -1").unwrap();
        assert_eq!((read.pid, read.parent, read.group), (Pid::from_raw(4_711).unwrap(), 17, 4_700));
        assert!(stat("").is_none() && stat("x (y) S 1 2").is_none() && stat("1 (y) S").is_none());
    }
}
