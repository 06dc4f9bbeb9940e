//! A Runtime API with a scripted answer to the subscription, and the real extension's process at it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// What the mock does with the subscription.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Script {
    Answer(u16, &'static str),
    /// Reads the request and never answers.
    Hang,
    /// Reads the request and closes the connection.
    HangUp,
    /// Answers, but not in HTTP.
    Garbage,
}

/// One request, in the order of their arrival.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) extension: Option<String>,
    pub(crate) body: String,
}

#[derive(Debug)]
struct State {
    script: Script,
    seen: Mutex<Vec<Seen>>,
    asked: Notify,
    end: Notify,
}

/// What is left of one extension's life.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) seen: Vec<Seen>,
    pub(crate) success: bool,
    /// Its lines that are no summary.
    pub(crate) notices: Vec<String>,
}

/// Lets the extension live until it has asked for its first event and `settle` has passed; then SHUTDOWN comes.
pub(crate) async fn live(script: Script, settle: Duration, variables: &[(&str, &str)]) -> Life {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(State { script, seen: Mutex::default(), asked: Notify::new(), end: Notify::new() });
    let platform = tokio::spawn(serve(listener, state.clone()));
    let patience = Duration::from_secs(30);
    let extension = start(address, variables);
    tokio::time::timeout(patience, state.asked.notified()).await.expect("it asks for an event");
    tokio::time::sleep(settle).await;
    state.end.notify_one();
    let output =
        tokio::time::timeout(patience, extension.wait_with_output()).await.expect("it ends").unwrap();
    platform.abort();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let notices = lines.lines().filter(|line| line.contains("\"notice\"")).map(str::to_owned).collect();
    let seen = state.seen.lock().unwrap().clone();
    Life { seen, success: output.status.success(), notices }
}

fn start(runtime_api: SocketAddr, variables: &[(&str, &str)]) -> tokio::process::Child {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_lambda-flush-extension"));
    command.env_clear().env("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string());
    command.env("LAMBDA_FLUSH_OTLP_HTTP_ADDR", "off").env("LAMBDA_FLUSH_OTLP_GRPC_ADDR", "off");
    command.env("LAMBDA_FLUSH_TELEMETRY_ADDR", "127.0.0.1:0");
    command.env("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://127.0.0.1:9");
    // Nothing of this goes through a proxy.
    command.env("HTTP_PROXY", "http://127.0.0.1:9").env("http_proxy", "http://127.0.0.1:9");
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).kill_on_drop(true);
    command.spawn().unwrap()
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        tokio::spawn(async move {
            let serve = service_fn(move |request| answer(request, state.clone()));
            // Whoever hangs up has his reason.
            http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await.ok();
        });
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> Result<Answer, std::io::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let extension = parts.headers.get("Lambda-Extension-Identifier");
    let extension = extension.map(|id| id.to_str().unwrap().to_owned());
    let position = {
        // Noted before the body is read: this is the order that counts.
        let mut seen = state.seen.lock().unwrap();
        seen.push(Seen { path: path.clone(), extension, body: String::new() });
        seen.len() - 1
    };
    let body = body.collect().await.unwrap().to_bytes();
    state.seen.lock().unwrap()[position].body = String::from_utf8_lossy(&body).into_owned();
    match path.as_str() {
        "/2020-01-01/extension/register" => {
            let names = r#"{"functionName":"f","functionVersion":"1","handler":"h"}"#;
            let answer = Response::builder().header("Lambda-Extension-Identifier", "the-id");
            Ok(answer.body(Full::from(names)).unwrap())
        }
        "/2020-01-01/extension/event/next" => {
            state.asked.notify_one();
            state.end.notified().await;
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            let deadline = (now + Duration::from_secs(2)).as_millis();
            let event =
                format!(r#"{{"eventType":"SHUTDOWN","shutdownReason":"spindown","deadlineMs":{deadline}}}"#);
            Ok(Response::new(Full::from(event)))
        }
        _ => subscription(state.script).await,
    }
}

async fn subscription(script: Script) -> Result<Answer, std::io::Error> {
    match script {
        Script::Answer(status, body) => {
            let status = StatusCode::from_u16(status).unwrap();
            Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
        }
        Script::Hang => {
            std::future::pending::<Infallible>().await;
            unreachable!()
        }
        Script::HangUp => Err(std::io::Error::other("as the script has it")),
        // A header that no client takes.
        Script::Garbage => {
            let odd = Response::builder().header("Content-Length", "not a number");
            Ok(odd.body(Full::from("garbage")).unwrap())
        }
    }
}
