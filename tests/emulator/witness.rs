//! A witness file whose writer was killed.

use std::process::{Command, Stdio};

use lambda_testkit::SpanId;
use lambda_testkit::witness::{self, WITNESS_ENV, Witness};

use crate::support::eventually;

/// Set for the process that is to be killed.
const VICTIM_ENV: &str = "TESTKIT_WITNESS_VICTIM";
const THREADS: u8 = 2;

/// Not a test of its own: the victim, when the test below starts it.
#[test]
fn victim() {
    if std::env::var_os(VICTIM_ENV).is_none() {
        return;
    }
    let witness = Witness::from_env().unwrap().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let witness = &witness;
            scope.spawn(move || {
                for number in 1..=u32::MAX {
                    let [a, b, c, d] = number.to_be_bytes();
                    if !witness.note(SpanId([thread, 0, 0, 1, a, b, c, d]), number) {
                        // The file is full: wait for the kill.
                        loop {
                            std::thread::park();
                        }
                    }
                }
            });
        }
    });
}

#[tokio::test]
async fn what_was_noted_before_a_sigkill_is_readable_and_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("witness");
    let mut victim = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "witness::victim", "--nocapture"])
        .envs([(VICTIM_ENV, "1".as_ref()), (WITNESS_ENV, path.as_os_str())])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually(|| witness::read(&path).is_ok_and(|contents| contents.records.len() > 1_000)).await;
    victim.kill().unwrap();
    victim.wait().unwrap();
    let contents = witness::read(&path).unwrap();
    assert!(contents.torn <= u64::from(THREADS), "{}", contents.torn);
    for thread in 0..THREADS {
        let numbers: Vec<_> =
            contents.records.iter().filter(|it| it.span_id.0[0] == thread).map(|it| it.buffered).collect();
        assert!(numbers.iter().copied().eq(1..=u32::try_from(numbers.len()).unwrap()));
    }
}
