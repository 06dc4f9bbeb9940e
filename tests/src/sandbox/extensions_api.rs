//! The Extensions API: `register`, `event/next`, `init/error`, `exit/error`.

use http::{Request, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::environment::{ACCOUNT_ID, FUNCTION_VERSION, HANDLER};
use super::fault::Fault;
use super::router::{accepted, error, header, json_reply};
use super::shared::Shared;
use super::state::{Agent, AgentEvent, AgentState, Next, Phase, State};
use crate::http1::{Abort, Reply, read_body, reply, set_header};
use crate::party::Party;

/// Extensions that one environment may have, internal ones included.
const EXTENSIONS_MAX: usize = 10;
const REGISTER_BYTES_MAX: usize = 64 * 1024;
const NAME_HEADER: &str = "Lambda-Extension-Name";
const ID_HEADER: &str = "Lambda-Extension-Identifier";
const ERROR_TYPE_HEADER: &str = "Lambda-Extension-Function-Error-Type";

/// `POST /register`
pub(crate) async fn register(shared: &Shared, request: Request<Incoming>) -> Reply {
    let Some(name) = header(&request, NAME_HEADER).map(str::to_owned) else {
        return forbidden("Extension.InvalidExtensionName", "Empty extension name").into();
    };
    let features = header(&request, "Lambda-Extension-Accept-Feature").unwrap_or_default();
    let wants_account = features.split(',').any(|feature| feature.trim() == "accountId");
    let body = read_body(request.into_body(), REGISTER_BYTES_MAX).await.unwrap_or_default();
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return forbidden("InvalidRequestFormat", "the body is no JSON").into();
    };
    let events: Vec<&str> = body
        .get("events")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let id = match shared.update(|state| admit(state, &name, &events)) {
        Ok(id) => id,
        Err(refusal) => return refusal.into(),
    };
    let mut answer = json!({
        "functionName": shared.config.function_name, "functionVersion": FUNCTION_VERSION, "handler": HANDLER,
    });
    if let Some(fields) = answer.as_object_mut().filter(|_| wants_account) {
        fields.insert("accountId".to_owned(), ACCOUNT_ID.into());
    }
    let mut answer = json_reply(StatusCode::OK, &answer);
    set_header(&mut answer, ID_HEADER, &id);
    answer
}

/// Registers an extension: external if it has the name of a file that was started, else internal.
fn admit(state: &mut State, name: &str, events: &[&str]) -> Result<String, Refusal> {
    let external = state.extension_names().iter().any(|started| started == name);
    for event in events {
        let known = matches!(*event, "INVOKE" | "SHUTDOWN");
        if !known || (*event == "SHUTDOWN" && !external) {
            let reason =
                if known { "ShutdownEventNotSupportedForInternalExtension" } else { "ErrorInvalidEventType" };
            return Err(forbidden("Extension.InvalidEventType", format!("{event}: {reason}")));
        }
    }
    if !external && !state.registration_open {
        return Err(forbidden("Extension.RegistrationClosed", "Extension registration closed already"));
    }
    if state.agents.iter().any(|agent| agent.name == name) {
        return Err(forbidden(
            "Extension.InvalidExtensionState",
            "Extension with this name already registered",
        ));
    }
    if state.agents.len() >= EXTENSIONS_MAX {
        let message = format!("Extension limit ({EXTENSIONS_MAX}) reached");
        return Err(forbidden("Extension.TooManyExtensions", message));
    }
    let agent = Agent {
        id: uuid(),
        name: name.to_owned(),
        external,
        wants_invoke: events.contains(&"INVOKE"),
        wants_shutdown: events.contains(&"SHUTDOWN"),
        state: AgentState::Registered,
        waiter: None,
        latched: None,
        shutdown_released_at: None,
        seen_shutdown: false,
    };
    state.trace.push(&agent.party(), "registered", json!({ "events": events, "external": external }));
    let id = agent.id.clone();
    state.agents.push(agent);
    Ok(id)
}

/// `GET /event/next`: blocks until there is an event, or answers as a planned fault says.
pub(crate) async fn next(shared: &Shared, request: &Request<Incoming>) -> Result<Reply, Abort> {
    let id = match identifier(request) {
        Ok(id) => id.to_owned(),
        Err(refusal) => return Ok(refusal.into()),
    };
    let next = shared.update(|state| {
        let index = state.agents.iter().position(|agent| agent.id == id)?;
        let agent = state.agents.get_mut(index)?;
        let party = agent.party();
        let may_fail = agent.external && state.phase != Phase::Ending;
        if let Some(fault) = may_fail.then(|| state.faults.on_call()).flatten() {
            let detail = json!({ "fault": fault.name(), "to": party.to_string() });
            state.trace.push(&Party::Platform, "fault", detail);
            return Some(Err(fault));
        }
        let next = agent.next();
        state.trace.push(&party, "next", Value::Null);
        if let Next::Event(event) = &next {
            state.trace.push(&party, "latched_delivered", json!({ "event": event.kind }));
        }
        Some(Ok(next))
    });
    match next {
        None => Ok(unknown(&id).into()),
        Some(Err(fault)) => faulty(fault),
        Some(Ok(Next::Event(event))) => Ok(render(&event)),
        Some(Ok(Next::Wait(receiver))) => receiver.await.map(|event| render(&event)).map_err(|_| Abort),
        Some(Ok(Next::Refused(state))) => {
            let message = format!("State transition from {state:?} to Ready failed for extension {id}");
            Ok(forbidden("Extension.InvalidExtensionState", message).into())
        }
    }
}

/// `POST /init/error` and `POST /exit/error`: the extension announces that it is about to exit. It is the exit that
/// fails the init or the invocation, then under the announced name.
pub(crate) fn failed(shared: &Shared, request: &Request<Incoming>, event: &str) -> Reply {
    let id = match identifier(request) {
        Ok(id) => id,
        Err(refusal) => return refusal.into(),
    };
    let Some(error_type) = header(request, ERROR_TYPE_HEADER) else {
        return forbidden("Extension.MissingHeader", format!("{ERROR_TYPE_HEADER} not found")).into();
    };
    let fatal = if event == "init_error" { "Extension.InitError" } else { "Extension.ExitError" };
    shared.update(|state| {
        let Some(agent) = state.agents.iter_mut().find(|agent| agent.id == id) else {
            return unknown(id).into();
        };
        if event == "init_error" && !matches!(agent.state, AgentState::Registered | AgentState::Failed) {
            let message =
                format!("State transition from {:?} to InitError failed for extension {id}", agent.state);
            return forbidden("Extension.InvalidExtensionState", message).into();
        }
        agent.state = AgentState::Failed;
        let party = agent.party();
        state.trace.push(&party, event, json!({ "error_type": error_type }));
        if state.phase != Phase::Ending {
            state.announced_error.get_or_insert(fatal);
        }
        accepted()
    })
}

fn identifier(request: &Request<Incoming>) -> Result<&str, Refusal> {
    header(request, ID_HEADER).ok_or_else(|| {
        forbidden("Extension.MissingExtensionIdentifier", format!("Missing {ID_HEADER} header"))
    })
}

/// An event as the extension gets it; SHUTDOWN has no event identifier.
fn render(event: &AgentEvent) -> Reply {
    let mut answer = json_reply(StatusCode::OK, &event.body);
    if event.kind == "INVOKE" {
        set_header(&mut answer, "Lambda-Extension-Event-Identifier", &uuid());
    }
    answer
}

fn faulty(fault: Fault) -> Result<Reply, Abort> {
    match fault {
        Fault::Status500 => {
            Ok(error(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "Internal Server Error"))
        }
        Fault::GarbageJson => Ok(reply(StatusCode::OK, "application/json", r#"{"eventType":"INV"#)),
        Fault::UnknownEvent => {
            let body = json!({ "eventType": "CHECKPOINT", "deadlineMs": crate::trace::unix_ms() });
            Ok(json_reply(StatusCode::OK, &body))
        }
        Fault::CloseConnection => Err(Abort),
    }
}

/// A 403.
struct Refusal {
    error_type: &'static str,
    message: String,
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        error(StatusCode::FORBIDDEN, refusal.error_type, &refusal.message)
    }
}

fn unknown(id: &str) -> Refusal {
    forbidden("Extension.UnknownExtensionIdentifier", format!("Unknown extension {id}"))
}

fn forbidden(error_type: &'static str, message: impl Into<String>) -> Refusal {
    Refusal { error_type, message: message.into() }
}

/// A random identifier in the form of a UUID of version 4.
pub(crate) fn uuid() -> String {
    let mut bytes = fastrand::u128(..).to_be_bytes();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32];
    groups.into_iter().filter_map(|range| hex.get(range)).collect::<Vec<_>>().join("-")
}
