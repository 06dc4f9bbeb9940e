//! `PUT /2022-07-01/telemetry`: the schema that AWS's emulator for managed instances checks a subscription against.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::router::{error, header};
use super::super::shared::Shared;
use super::super::state::{AgentState, Phase, State};
use super::record::telemetry_subscription;
use super::{Subscriber, TelemetryScript, delivery};
use crate::http1::{Reply, read_body, reply};

const BODY_BYTES_MAX: usize = 64 * 1024;
const SCHEMAS: [&str; 3] = ["2022-07-01", "2022-12-13", "2025-01-29"];
const TYPES: [&str; 3] = ["platform", "function", "extension"];
/// Names of the environment itself; only they may be a destination.
const HOSTS: [&str; 2] = ["sandbox.localdomain", "sandbox"];
/// The Runtime API's port in production.
const RESERVED_PORT: u16 = 9_001;

/// A subscription that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) types: Vec<String>,
    pub(super) items_max: usize,
    pub(super) bytes_max: usize,
    pub(super) timeout: Duration,
    pub(super) port: u16,
    pub(super) path: String,
}

/// `PUT /2022-07-01/telemetry`
pub(crate) async fn subscribe(shared: &Arc<Shared>, request: Request<Incoming>) -> Reply {
    let id = header(&request, "Lambda-Extension-Identifier").map(str::to_owned);
    let body = read_body(request.into_body(), BODY_BYTES_MAX).await.unwrap_or_default();
    match shared.update(|state| state.telemetry.script) {
        TelemetryScript::NotSupported => {
            return error(StatusCode::ACCEPTED, "Telemetry.NotSupported", "Telemetry API is not supported");
        }
        TelemetryScript::Forbidden => return closed(),
        _ => {}
    }
    let Some(id) = id else {
        let message = "Missing Lambda-Extension-Identifier header";
        return error(StatusCode::FORBIDDEN, "Extension.MissingExtensionIdentifier", message);
    };
    let subscription = match parse(&body) {
        Ok(subscription) => subscription,
        Err(fault) => return error(StatusCode::BAD_REQUEST, "ValidationError", &fault),
    };
    let admitted = shared.update(|state| admit(state, &id, &subscription));
    match admitted {
        Ok(queue) => {
            tokio::spawn(delivery::run(Arc::clone(shared), subscription, queue));
            reply(StatusCode::OK, "application/json", r#""OK""#)
        }
        Err(refusal) => *refusal,
    }
}

fn admit(
    state: &mut State,
    id: &str,
    subscription: &Subscription,
) -> Result<mpsc::UnboundedReceiver<super::Message>, Box<Reply>> {
    let Some(agent) = state.agents.iter().find(|agent| agent.id == id) else {
        let message = format!("Unknown extension {id}");
        return Err(error(StatusCode::FORBIDDEN, "Extension.UnknownExtensionIdentifier", &message).into());
    };
    if state.phase != Phase::Init || agent.state == AgentState::Failed {
        return Err(closed().into());
    }
    let (extension, party) = (agent.name.clone(), agent.party());
    let detail = json!({ "types": subscription.types, "port": subscription.port });
    state.trace.push(&party, "telemetry_subscribed", detail);
    let (sender, queue) = mpsc::unbounded_channel();
    state.telemetry.emit_of_init(telemetry_subscription(&extension, &subscription.types));
    state.telemetry.admit(Subscriber { extension, queue: sender });
    Ok(queue)
}

fn closed() -> Reply {
    error(
        StatusCode::FORBIDDEN,
        "Telemetry.SubscriptionClosed",
        "Telemetry API subscription is closed already",
    )
}

/// Checks every field; the fault names the first that is wrong.
fn parse(body: &[u8]) -> Result<Subscription, String> {
    let body: Value =
        serde_json::from_slice(body).map_err(|fault| format!("the body is no JSON: {fault}"))?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
    let schema = text(body.get("schemaVersion"));
    if !SCHEMAS.contains(&schema.as_str()) {
        return Err(format!("schemaVersion: {schema:?} is none of {SCHEMAS:?}"));
    }
    let types: Vec<String> = body
        .get("types")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|kind| text(Some(kind)))
        .collect();
    if types.is_empty() || types.iter().any(|kind| !TYPES.contains(&kind.as_str())) {
        return Err(format!("types: {types:?} are not one or more of {TYPES:?}"));
    }
    let buffering = body.get("buffering").cloned().unwrap_or_default();
    let destination = body.get("destination").cloned().unwrap_or_default();
    let protocol = text(destination.get("protocol"));
    if protocol != "HTTP" {
        return Err(format!("destination.protocol: {protocol:?} is not HTTP, the only one imitated"));
    }
    let uri: Uri =
        text(destination.get("URI")).parse().map_err(|fault| format!("destination.URI: {fault}"))?;
    let port = uri.port_u16().unwrap_or(80);
    if uri.scheme_str() != Some("http") || !uri.host().is_some_and(|host| HOSTS.contains(&host)) {
        return Err(format!("destination.URI: {uri} is not http:// with one of the hosts {HOSTS:?}"));
    }
    if port == RESERVED_PORT {
        return Err(format!("destination.URI: port {port} is reserved"));
    }
    Ok(Subscription {
        types,
        items_max: number(&buffering, "maxItems", 1_000..=10_000, 10_000)?,
        bytes_max: number(&buffering, "maxBytes", 262_144..=1_048_576, 262_144)?,
        timeout: Duration::from_millis(
            u64::try_from(number(&buffering, "timeoutMs", 25..=30_000, 1_000)?).unwrap_or(u64::MAX),
        ),
        port,
        path: uri.path().to_owned(),
    })
}

fn number(
    buffering: &Value,
    name: &str,
    range: std::ops::RangeInclusive<usize>,
    default: usize,
) -> Result<usize, String> {
    let Some(value) = buffering.get(name) else { return Ok(default) };
    let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("buffering.{name}: {value} is not in {range:?}"))
}

impl Subscription {
    /// True if it wants the platform's records.
    pub(super) fn wants_platform(&self) -> bool {
        self.types.iter().any(|kind| kind == TYPES[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(change: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut body = json!({
            "schemaVersion": "2022-12-13", "types": ["platform"],
            "buffering": { "maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25 },
            "destination": { "protocol": "HTTP", "URI": "http://sandbox.localdomain:4319" },
        });
        change(&mut body);
        body.to_string().into_bytes()
    }

    #[test]
    fn a_subscription_in_order_is_taken() {
        let subscription = parse(&body(|_| ())).unwrap();
        assert_eq!((subscription.port, subscription.path.as_str()), (4_319, "/"));
        assert_eq!(subscription.timeout, Duration::from_millis(25));
        let defaults = parse(&body(|body| _ = body.as_object_mut().unwrap().remove("buffering"))).unwrap();
        assert_eq!((defaults.timeout, defaults.items_max), (Duration::from_secs(1), 10_000));
    }

    #[test]
    fn each_wrong_field_is_named() {
        let wrong: [(&str, &str, Value); 9] = [
            ("schemaVersion", "/schemaVersion", json!("2021-01-01")),
            ("types", "/types", json!([])),
            ("types", "/types", json!(["platform", "kernel"])),
            ("buffering.timeoutMs", "/buffering/timeoutMs", json!(24)),
            ("buffering.maxItems", "/buffering/maxItems", json!("many")),
            ("destination.protocol", "/destination/protocol", json!("UDP")),
            ("destination.URI", "/destination/URI", json!("http://127.0.0.1:4319")),
            ("destination.URI", "/destination/URI", json!("http://sandbox.localdomain:9001")),
            ("destination.URI", "/destination/URI", json!("https://sandbox:4319")),
        ];
        for (named, pointer, value) in wrong {
            let fault = parse(&body(|body| *body.pointer_mut(pointer).unwrap() = value)).unwrap_err();
            assert!(fault.starts_with(named), "{fault}");
        }
        assert!(parse(b"{").unwrap_err().contains("no JSON"));
    }
}
