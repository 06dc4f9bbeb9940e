//! Ends a command that overran its limit, together with everything it started.

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

/// Sends SIGKILL to `root` and to all its descendants.
///
/// The commands share our process group so that Ctrl-C reaches them; the tree is therefore read from `/proc`
/// rather than addressed as a group.
pub(crate) fn kill_tree(root: u32) {
    let mut kill = Command::new("kill");
    kill.arg("-KILL").arg(root.to_string());
    kill.args(descendants(root, &parents()).iter().map(u32::to_string));
    // Processes that ended meanwhile make `kill` complain; that is no fault.
    let ended = kill.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if let Err(fault) = ended {
        eprintln!("xtask: cannot run kill: {fault}");
    }
}

/// Every process with its parent, as `/proc/<pid>/stat` tells.
fn parents() -> BTreeMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect()
}

/// The parent's id in a line of `/proc/<pid>/stat`; the second field may itself contain spaces and brackets.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(root: u32, parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut found = vec![root];
    let mut checked = 0;
    while let Some(&parent) = found.get(checked) {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        checked += 1;
    }
    found.remove(0);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_parent_behind_an_odd_name() {
        assert_eq!(parent_in("42 (a) b (c) S 7 42 42 0"), Some(7));
        assert_eq!(parent_in("garbage"), None);
    }

    #[test]
    fn finds_grandchildren_and_nobody_else() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)]);
        assert_eq!(descendants(2, &parents), [3, 4]);
        assert_eq!(descendants(6, &parents), [0_u32; 0]);
    }
}
