//! One subscriber's records on their way: buffered as it asked, late as scripted, never to a frozen environment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::super::shared::Shared;
use super::post::Client;
use super::record::Record;
use super::subscription::Subscription;
use super::{Message, TelemetryScript, malformed};
use crate::party::Party;

/// How long a listener may take to answer, the time in which it is frozen apart.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Attempts for one body, the first one included.
const ATTEMPTS: u32 = 5;
/// Pause before the second attempt; each further one is twice as long.
const RETRY: Duration = Duration::from_millis(50);
/// Nothing is frozen for longer in one wait; then it waits again.
const FROZEN_WAIT: Duration = Duration::from_secs(60);

/// A record that waits.
struct Waiting {
    record: Record,
    lateness: Duration,
}

/// Delivers until the environment forgets the subscription.
pub(super) async fn run(
    shared: Arc<Shared>,
    subscription: Subscription,
    mut queue: UnboundedReceiver<Message>,
) {
    let mut client = Client::new(subscription.port, &subscription.path);
    let mut waiting: Vec<Waiting> = Vec::new();
    let mut round = 0;
    loop {
        let due = due(&waiting, &subscription);
        let hurry = tokio::select! {
            message = queue.recv() => match message {
                Some(Message::Record { record, lateness }) => {
                    waiting.push(Waiting { record, lateness });
                    false
                }
                Some(Message::Flush) => true,
                None => return,
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(far).into()), if due.is_some() => false,
        };
        if !hurry && due.is_none_or(|due| due > Instant::now()) {
            continue;
        }
        let now = Instant::now();
        let is_late = |it: &Waiting| it.record.at + it.lateness > now;
        let (later, ready): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_late);
        waiting = later;
        if !ready.is_empty() && subscription.wants_platform() {
            let records = ready.into_iter().map(|it| it.record).collect();
            deliver(&shared, &mut client, records, round).await;
            round += 1;
        }
    }
}

/// When the buffer is to be sent: the first record's time-out, or at once if it is full.
fn due(waiting: &[Waiting], subscription: &Subscription) -> Option<Instant> {
    let bytes: usize = waiting.iter().map(|it| it.record.json.to_string().len()).sum();
    let at = |it: &Waiting| it.record.at + it.lateness + subscription.timeout;
    let first = waiting.iter().map(at).min()?;
    let full = waiting.len() >= subscription.items_max || bytes >= subscription.bytes_max;
    Some(if full { first.min(Instant::now()) } else { first })
}

fn far() -> Instant {
    Instant::now() + FROZEN_WAIT
}

async fn deliver(shared: &Arc<Shared>, client: &mut Client, records: Vec<Record>, round: usize) {
    let kinds: Vec<&str> = records.iter().map(Record::kind).collect();
    let detail = json!({ "types": kinds });
    let mut records: Vec<Value> = records.iter().map(|record| record.json.clone()).collect();
    let malformed = shared.update(|state| state.telemetry.script == TelemetryScript::Malformed);
    if malformed {
        // Whatever is answered to this one, it is not sent again.
        attempt(shared, client, malformed::body(round).into()).await;
        records = malformed::between(records, round);
    }
    let body = Bytes::from(Value::from(records).to_string());
    let mut pause = RETRY;
    for _ in 0..ATTEMPTS {
        if matches!(attempt(shared, client, body.clone()).await, Some(200..300)) {
            shared.update(|state| state.trace.push(&Party::Platform, "telemetry_delivered", detail));
            return;
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    shared.update(|state| state.trace.push(&Party::Platform, "telemetry_dropped", detail));
}

/// One POST, begun when nothing is frozen. The answer may come after a freeze. `None`: no answer.
async fn attempt(shared: &Arc<Shared>, client: &mut Client, body: Bytes) -> Option<u16> {
    while shared.until(far(), |state| (!state.frozen).then_some(())).await.is_none() {}
    let mut exchange = std::pin::pin!(client.post(body));
    loop {
        match tokio::time::timeout(ANSWER_WAIT, exchange.as_mut()).await {
            Ok(status) => return status.ok(),
            Err(_) if shared.update(|state| state.frozen) => {}
            Err(_) => return None,
        }
    }
}
