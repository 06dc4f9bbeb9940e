//! The blocking HTTP client below opentelemetry-otlp: HTTP/1.1 over TCP or TLS, by a deadline, for one thread.
//!
//! It sends the body it was loaded with, whatever body the request has: see `envelope.rs`. Nothing here touches
//! libc's resolver or the environment.

use std::fmt;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use lambda_flush_proto::otlp::classify::{self, Answer, Hide, shortened};
use lambda_flush_proto::otlp::secrets::Secrets;
use opentelemetry_http::{HttpClient, HttpError};
use ureq::config::Config;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Timeout};

use super::dns::Dns;
use super::settings::Settings;

/// Of a response; OTLP's are small.
const RESPONSE_BYTES_MAX: u64 = 64 << 10;
/// Of a request's time, for the connection. A little less than all of it: the message says what took so long.
const CONNECT_SHARE_MAX: f64 = 0.9;
/// Of what a backend asks for: a mistaken one must not silence the function for good.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10 * 60);
/// As many addresses as the client keeps of one name.
const ADDRESSES_MAX: usize = 16;

/// How one request went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The backend has it, so many items excepted, which it refused for good.
    Exported { rejected: u64, message: String },
    /// The backend refused all of it for good.
    Rejected { message: String },
    /// It may go better later, not before `after` if the backend says so.
    Retry { after: Option<Duration>, message: String },
}

/// See the module's description.
pub(crate) struct Client {
    tls: TlsConfig,
    dns: Dns,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    agent: Option<Agent>,
    letter: Option<Letter>,
    outcome: Option<Outcome>,
}

/// What the next request carries.
struct Letter {
    headers: HeaderMap,
    body: Bytes,
    until: Instant,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    /// Connects to nothing yet.
    pub(crate) fn new(settings: &Settings) -> Self {
        let roots = settings.certificates.as_deref().and_then(certificates).map(RootCerts::from);
        let tls = TlsConfig::builder().root_certs(roots.unwrap_or(RootCerts::WebPki)).build();
        Self { tls, dns: Dns::new(settings.name_server), state: Mutex::default() }
    }

    /// Forgets all connections: after a freeze the backend has closed them.
    pub(crate) fn reset(&self) {
        self.lock().agent = None;
    }

    /// What the next request carries, and until when it may take.
    pub(crate) fn load(&self, headers: HeaderMap, body: Bytes, until: Instant) {
        let mut state = self.lock();
        state.letter = Some(Letter { headers, body, until });
        state.outcome = None;
    }

    /// How the request went.
    pub(crate) fn take_outcome(&self) -> Option<Outcome> {
        self.lock().outcome.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exchange(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (letter, agent) = {
            let mut state = self.lock();
            let letter = state.letter.take().ok_or("nothing was loaded")?;
            (letter, state.agent.get_or_insert_with(|| self.agent()).clone())
        };
        let time = letter.until.saturating_duration_since(Instant::now());
        let result = self.send(&agent, request, &letter);
        let outcome = match &result {
            Ok(response) => {
                let hide = |text: &str| {
                    let sent = letter.headers.values().filter_map(|value| value.to_str().ok());
                    Secrets::of(sent).hidden(text)
                };
                classify(response.status(), response.headers(), response.body(), since_epoch(), &hide)
            }
            Err(error) => Outcome::Retry { after: None, message: describe(error.as_ref(), time) },
        };
        self.lock().outcome = Some(outcome);
        result
    }

    fn agent(&self) -> Agent {
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // The default would read the environment.
            .proxy(None)
            .tls_config(self.tls.clone())
            .build();
        Agent::with_parts(config, DefaultConnector::default(), Names(self.dns.clone()))
    }

    fn send(
        &self,
        agent: &Agent,
        request: &Request<Bytes>,
        letter: &Letter,
    ) -> Result<Response<Bytes>, HttpError> {
        let left = letter.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("there was no time left for it".into());
        }
        let mut outgoing = Request::post(request.uri().clone()).body(&*letter.body)?;
        let headers = outgoing.headers_mut();
        headers.clone_from(&letter.headers);
        if let Some(content_type) = request.headers().get(CONTENT_TYPE) {
            headers.insert(CONTENT_TYPE, content_type.clone());
        }
        headers.insert(USER_AGENT, user_agent(request.headers())?);
        let outgoing = agent
            .configure_request(outgoing)
            .timeout_global(Some(left))
            .timeout_connect(Some(left.mul_f64(CONNECT_SHARE_MAX)))
            .build();
        let (parts, mut body) = agent.run(outgoing)?.into_parts();
        // The status stands, also when the backend's words are too many or broken.
        let body = body.with_config().limit(RESPONSE_BYTES_MAX).read_to_vec().unwrap_or_default();
        Ok(Response::from_parts(parts, body.into()))
    }
}

impl HttpClient for Client {
    // What `#[async_trait]` makes of `async fn send_bytes(&self, request: Request<Bytes>)`.
    fn send_bytes<'s, 'f>(
        &'s self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        Box::pin(ready(self.exchange(&request)))
    }
}

/// Ours before the exporter's, as RFC 9110 (10.1.5) wants it.
fn user_agent(headers: &HeaderMap) -> Result<HeaderValue, HttpError> {
    let ours = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
    let theirs = headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    Ok(HeaderValue::from_str(format!("{ours} {theirs}").trim())?)
}

/// The certificates in a PEM file, if there is any.
pub(crate) fn certificates(pem: &[u8]) -> Option<Vec<Certificate<'static>>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let found: Vec<_> = parse_pem(pem).filter_map(certificate).collect();
    (!found.is_empty()).then_some(found)
}

/// Our resolver, as ureq wants it.
#[derive(Debug)]
struct Names(Dns);

impl Resolver for Names {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default);
        // A timeout that never happens is a very long one.
        let until = Instant::now().checked_add(*timeout.after).ok_or(ureq::Error::HostNotFound)?;
        let addresses = self.0.resolve(host, until).map_err(|error| {
            ureq::Error::Other(format!("the name {host} can't be resolved: {error}").into())
        })?;
        let mut resolved = self.empty();
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            resolved.push((address, port).into());
        }
        Ok(resolved)
    }
}

/// What the answer means for what is held.
fn classify(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Duration, hide: Hide<'_>) -> Outcome {
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let said = |message| format!("the backend answers {message}");
    match classify::http(status.as_u16(), retry_after, body, now, hide) {
        Answer::Accepted { rejected, message } => Outcome::Exported { rejected, message },
        Answer::Retry { after, message, .. } => {
            Outcome::Retry { after: after.map(|after| after.min(RETRY_AFTER_MAX)), message: said(message) }
        }
        // Nothing is kept here for another configuration.
        Answer::Rejected { message } | Answer::Refused { message } => {
            Outcome::Rejected { message: said(message) }
        }
    }
}

/// For a `Retry-After` that is a date.
fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// An error for people.
fn describe(error: &(dyn std::error::Error + 'static), time: Duration) -> String {
    let time_ms = time.as_millis();
    let text = match error.downcast_ref::<ureq::Error>() {
        Some(ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve)) => {
            format!("no connection within {time_ms} ms")
        }
        Some(ureq::Error::Timeout(_)) => format!("no answer within {time_ms} ms"),
        Some(ureq::Error::Io(error)) => error.to_string(),
        Some(ureq::Error::Other(error)) => error.to_string(),
        _ => error.to_string(),
    };
    shortened(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classified(code: u16, retry_after: Option<u64>) -> Outcome {
        let headers = retry_after.map(|seconds| (RETRY_AFTER, seconds.into()));
        let status = StatusCode::from_u16(code).unwrap();
        classify(status, &headers.into_iter().collect(), b"", Duration::ZERO, &str::to_owned)
    }

    #[test]
    fn statuses_mean_what_the_specification_says() {
        for code in [429, 502, 503, 504] {
            assert!(matches!(classified(code, None), Outcome::Retry { after: None, .. }), "{code}");
        }
        for code in [301, 400, 401, 403, 404, 413, 500, 501] {
            assert!(matches!(classified(code, None), Outcome::Rejected { .. }), "{code}");
        }
        for code in [200, 202, 204] {
            assert_eq!(classified(code, None), Outcome::Exported { rejected: 0, message: String::new() });
        }
    }

    #[test]
    fn a_time_to_wait_is_bounded() {
        let seven = Some(Duration::from_secs(7));
        assert!(matches!(classified(429, Some(7)), Outcome::Retry { after, .. } if after == seven));
        let outcome = classified(429, Some(u64::MAX));
        assert!(matches!(outcome, Outcome::Retry { after: Some(RETRY_AFTER_MAX), .. }), "{outcome:?}");
    }
}
