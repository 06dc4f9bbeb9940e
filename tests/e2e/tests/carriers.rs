//! The ring where it can be had, the socket where not: whatever fails on the way to the ring, everything arrives by the
//! socket, and the function hears of it at most once (promises P2 and P4).
//!
//! Each failure is the kernel's own, see `pinch.rs`. Two can't be had from outside: `F_ADD_SEALS` on a memfd of our own,
//! and an extension that is given a memfd without seals or with another size; tests beside the ring's memory have them.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use lambda_flush_e2e::pinch::{PINCH_ENV, Pinch};
use lambda_flush_e2e::proxy::Proxy;
use lambda_flush_e2e::{Ended, Rig};
use lambda_testkit::{Party, SandboxBuilder, ShutdownReason, Status};

const TIMEOUT: Duration = Duration::from_secs(20);
const CARRIER: &str = "LAMBDA_FLUSH_CARRIER";
const SPANS: usize = 1_500;
const INVOCATIONS: usize = 3;

/// How the hand-off went.
#[derive(Debug, PartialEq, Eq)]
struct Handed {
    by_ring: bool,
    /// What the library said of its own.
    said: Vec<String>,
}

/// Some invocations, of which nothing may be missing at the backend.
async fn handed(setup: impl FnOnce(SandboxBuilder) -> SandboxBuilder) -> (Handed, Ended) {
    let rig = Rig::start(|builder| setup(builder.timeout(TIMEOUT))).await.expect("an environment");
    for _ in 0..INVOCATIONS {
        let outcome = rig.sandbox.invoke(format!(r#"{{"spans":{SPANS}}}"#)).await;
        assert_eq!(outcome.status, Status::Ok, "{outcome:?}");
    }
    let by_ring = rig.has_ring();
    let ended = rig.end(ShutdownReason::Spindown, false).await.expect("an end");
    assert!(ended.verdict.is_ok(), "{:?}\n{:#?}", ended.verdict, ended.report.lines);
    assert_eq!(ended.witnessed_at_backend(), INVOCATIONS * SPANS);
    let possible: u64 =
        ended.summary().expect("a summary").destinations.iter().map(|it| it.possible_duplicates).sum();
    // On a slow machine an export may be cut off at the cap.
    assert!(ended.verdict.duplicates <= possible, "{} twice, {possible} counted", ended.verdict.duplicates);
    assert_eq!(ended.complaints(), [""; 0], "the function's lack is nothing of the extension's");
    let lines = ended.report.lines.iter().filter(|line| line.party == Party::Function);
    let notices = lines.filter(|line| line.text.contains(r#""lambda_flush":"notice""#));
    let said = notices.map(|line| line.text.clone()).collect();
    (Handed { by_ring, said }, ended)
}

#[tokio::test]
async fn the_ring_is_the_default_and_can_be_declined() {
    for (carrier, by_ring) in
        [(None, true), (Some("auto"), true), (Some("ring"), true), (Some("socket"), false)]
    {
        // An empty value is none, and keeps a run's own choice away.
        let carrier = carrier.unwrap_or_default();
        let (handed, _) = handed(|builder| builder.function_env(CARRIER, carrier)).await;
        assert_eq!(handed, Handed { by_ring, said: Vec::new() }, "{carrier:?}");
    }
}

#[tokio::test]
async fn a_small_budget_has_no_memory_for_a_ring() {
    let (handed, _) = handed(|builder| {
        builder.function_env(CARRIER, "auto").env("LAMBDA_FLUSH_BUFFER_BYTES_MAX", "4194304")
    })
    .await;
    assert_eq!(handed, Handed { by_ring: false, said: Vec::new() });
}

/// Whether a line is about what the pinch takes away beside the ring: the library's thread needs descriptors too.
fn is_about_the_thread(line: &str) -> bool {
    line.contains("SIGTERM can't be caught")
}

async fn pinched(pinch: Pinch, carrier: &str) -> Vec<String> {
    let (handed, _) =
        handed(|builder| builder.function_env(CARRIER, carrier).function_env(PINCH_ENV, pinch.name())).await;
    assert!(!handed.by_ring, "{pinch:?} did not keep the ring away");
    handed.said.into_iter().filter(|line| !is_about_the_thread(line)).collect()
}

#[tokio::test]
async fn whatever_fails_the_socket_carries_on_without_a_word() {
    for pinch in Pinch::ALL {
        assert_eq!(pinched(pinch, "auto").await, [""; 0], "{pinch:?}");
    }
}

#[tokio::test]
async fn who_asks_for_the_ring_hears_once_that_there_is_none() {
    for pinch in Pinch::ALL {
        let said = pinched(pinch, "ring").await;
        assert!(said.len() == 1 && said[0].contains(CARRIER), "{pinch:?}: {said:?}");
    }
}

#[tokio::test]
async fn a_wrong_carrier_is_told_once_and_is_auto() {
    let (handed, _) = handed(|builder| builder.function_env(CARRIER, "pigeon")).await;
    assert!(handed.by_ring && handed.said.len() == 1, "{handed:?}");
    assert!(handed.said[0].contains(CARRIER) && handed.said[0].contains("pigeon"), "{handed:?}");
}

/// Something between the two that carries bytes and no descriptors, as an old extension does that knows of none.
#[tokio::test]
async fn an_offer_whose_descriptor_does_not_arrive_is_declined() {
    let name = format!("lambda-flush-e2e-carriers/{}", std::process::id());
    let proxy = Proxy::start(&name, format!("{name}/extension")).expect("a proxy");
    let (handed, _) = handed(|builder| {
        builder
            .function_env(CARRIER, "auto")
            .function_env("LAMBDA_FLUSH_SOCKET", format!("@{name}"))
            .extension_env("LAMBDA_FLUSH_SOCKET", format!("@{name}/extension"))
    })
    .await;
    assert!(proxy.connections() > 0);
    assert_eq!(handed, Handed { by_ring: false, said: Vec::new() });
}
