//! What the exporter is told: where each signal goes, how, and with what.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;

use super::endpoint::Given;
use super::proxy::{self, Proxies};
use super::tls::{self, TlsFiles};
use super::vars::Vars;
use super::{Headers, Listen, SIGNALS, endpoint};
use crate::core::Signal;
use crate::limits::CONNECTION_IDLE_DEFAULT;

const TIMEOUT_MS_DEFAULT: u64 = 10_000;
const TIMEOUT_MS_MAX: u64 = 600_000;
const IDLE_MS_MAX: u64 = 86_400_000;
const HEADERS_FROM: &str = "LAMBDA_FLUSH_OTLP_HEADERS_FROM";
const NAME_SERVER: &str = "LAMBDA_FLUSH_NAME_SERVER";

/// `LAMBDA_FLUSH_OTLP_PROTOCOL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `http/protobuf`.
    #[default]
    HttpProtobuf,
    /// `grpc`.
    Grpc,
}

/// `LAMBDA_FLUSH_OTLP_COMPRESSION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// `gzip`.
    #[default]
    Gzip,
    /// `zstd`.
    Zstd,
    /// `none`.
    None,
}

/// Where one signal goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The whole URL of the request.
    pub url: Uri,
    /// HTTP with protobuf bodies, or gRPC.
    pub protocol: Protocol,
    /// Of bodies.
    pub compression: Compression,
    /// Sent with each request.
    pub headers: Headers,
    /// One request.
    pub timeout: Duration,
    /// Certificates; shared by signals that use the same files.
    pub tls: Arc<TlsFiles>,
}

/// Everything the exporter is told.
#[derive(Debug, Clone, Default)]
pub struct ExportConfig {
    destinations: [Option<Destination>; 3],
    /// `LAMBDA_FLUSH_OTLP_HEADERS_FROM`: read at the first export.
    pub headers_from: Option<PathBuf>,
    /// `LAMBDA_FLUSH_OTLP_IDLE_MS`: a connection that was idle for longer is not used again.
    pub idle_max: Duration,
    /// `HTTP_PROXY` and its kind.
    pub proxies: Proxies,
    /// `LAMBDA_FLUSH_NAME_SERVER`, instead of those in `/etc/resolv.conf`.
    pub name_server: Option<SocketAddr>,
}

impl ExportConfig {
    /// Where `signal` goes, if anywhere.
    #[must_use]
    pub fn of(&self, signal: Signal) -> Option<&Destination> {
        let place = SIGNALS.iter().position(|(_, of)| *of == signal)?;
        self.destinations.get(place)?.as_ref()
    }

    /// Whether any signal goes anywhere.
    #[must_use]
    pub fn any(&self) -> bool {
        self.destinations.iter().any(Option::is_some)
    }

    /// The distinct sets of certificate files.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Arc<TlsFiles>> {
        let all = || self.destinations.iter().flatten().map(|destination| &destination.tls);
        let first = move |place, files| all().take(place).all(|other| !Arc::ptr_eq(other, files));
        all().enumerate().filter(move |(place, files)| first(*place, files)).map(|(_, files)| files)
    }

    /// The longest that one request may take, whatever its signal.
    #[must_use]
    pub fn timeout_max(&self) -> Duration {
        let timeouts = self.destinations.iter().flatten().map(|destination| destination.timeout);
        timeouts.max().unwrap_or(Duration::from_millis(TIMEOUT_MS_DEFAULT))
    }
}

pub(super) fn read(vars: &mut Vars<'_>, listen: &Listen) -> ExportConfig {
    let given = endpoint::read(vars, listen);
    let mut shared = Vec::new();
    let mut place = SIGNALS.into_iter();
    let destinations = given.map(|given| {
        // Read for a signal without an endpoint too: its variables may be faulty all the same.
        destination(vars, place.next()?, given.as_ref(), listen, &mut shared)
    });
    let idle_default = u64::try_from(CONNECTION_IDLE_DEFAULT.as_millis()).unwrap_or(u64::MAX);
    ExportConfig {
        destinations,
        headers_from: headers_from(vars),
        idle_max: vars.millis(&["LAMBDA_FLUSH_OTLP_IDLE_MS"], idle_default, &(0..=IDLE_MS_MAX)),
        proxies: proxy::read(vars),
        name_server: name_server(vars),
    }
}

/// Whose options count for one signal.
struct Options<'a> {
    upper: &'a str,
    /// The endpoint is ours: the standard variables say how the function's SDKs reach us, and they would not compress for
    /// that.
    own: bool,
    /// Whether credentials and the like of this signal's standard variables are meant for the endpoint.
    signal: bool,
    /// The same of those for all signals.
    common: bool,
}

impl Options<'_> {
    /// The names of an option, the one that counts most first.
    fn names(&self, option: &str) -> Vec<String> {
        let mut names = vec![format!("LAMBDA_FLUSH_OTLP_{option}")];
        if self.signal {
            names.push(format!("OTEL_EXPORTER_OTLP_{}_{option}", self.upper));
        }
        if self.common {
            names.push(format!("OTEL_EXPORTER_OTLP_{option}"));
        }
        names
    }

    /// Of how requests are written.
    fn format(&self, vars: &Vars<'_>, option: &str) -> Option<(String, String)> {
        let names = self.names(option);
        vars.first_of(names.get(..1).filter(|_| self.own).unwrap_or(&names))
    }
}

fn destination(
    vars: &mut Vars<'_>,
    (upper, signal): (&str, Signal),
    given: Option<&Given>,
    listen: &Listen,
    shared: &mut Vec<Arc<TlsFiles>>,
) -> Option<Destination> {
    let meant = given.map(|given| endpoint::standard_options(vars, upper, given, listen));
    let (of_signal, common) = meant.unwrap_or((true, true));
    let options = Options { upper, own: given.is_some_and(|given| given.own), signal: of_signal, common };
    let protocol = protocol(vars, &options);
    let compression = compression(vars, &options);
    let headers = headers(vars, &options);
    let names = options.names("TIMEOUT");
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let timeout = vars.millis(&names, TIMEOUT_MS_DEFAULT, &(1..=TIMEOUT_MS_MAX));
    let given = given?;
    let url = given.target(signal, protocol, vars)?;
    let files = match url.scheme_str() {
        Some("https") => tls::read(vars, |option| options.names(option)),
        _ => TlsFiles::default(),
    };
    let tls = match shared.iter().find(|known| ***known == files) {
        Some(known) => Arc::clone(known),
        None => {
            let new = Arc::new(files);
            shared.push(Arc::clone(&new));
            new
        }
    };
    Some(Destination { url, protocol, compression, headers, timeout, tls })
}

fn protocol(vars: &mut Vars<'_>, options: &Options<'_>) -> Protocol {
    let Some((name, text)) = options.format(vars, "PROTOCOL") else { return Protocol::default() };
    match text.as_str() {
        "http/protobuf" => {}
        "grpc" => return Protocol::Grpc,
        "http/json" => {
            vars.fault(&name, "is http/json, which is received but not sent; http/protobuf is used");
        }
        _ => vars.fault(&name, "is neither http/protobuf nor grpc; http/protobuf is used"),
    }
    Protocol::HttpProtobuf
}

fn compression(vars: &mut Vars<'_>, options: &Options<'_>) -> Compression {
    let Some((name, text)) = options.format(vars, "COMPRESSION") else { return Compression::default() };
    match text.as_str() {
        "gzip" => {}
        "zstd" => return Compression::Zstd,
        "none" => return Compression::None,
        _ => vars.fault(&name, "is none of gzip, zstd, none; gzip is used"),
    }
    Compression::Gzip
}

fn headers(vars: &mut Vars<'_>, options: &Options<'_>) -> Headers {
    let Some((name, text)) = vars.first_of(&options.names("HEADERS")) else { return Headers::default() };
    let (headers, wrong) = Headers::parse(&text);
    for message in wrong {
        vars.fault(&name, format!("{message}; it is left out"));
    }
    headers
}

fn headers_from(vars: &mut Vars<'_>) -> Option<PathBuf> {
    let text = vars.text(HEADERS_FROM)?;
    match text.strip_prefix("file:").map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(path) => Some(path),
        None => {
            vars.fault(HEADERS_FROM, "is not file:/absolute/path; it is not read");
            None
        }
    }
}

fn name_server(vars: &mut Vars<'_>) -> Option<SocketAddr> {
    let text = vars.text(NAME_SERVER)?;
    let with_port = text.parse::<SocketAddr>().ok();
    let address =
        with_port.or_else(|| Some(SocketAddr::new(text.parse().ok()?, lambda_flush_proto::dns::PORT)));
    if address.is_none() {
        vars.fault(NAME_SERVER, "is no IP address (with or without a port); /etc/resolv.conf is used");
    }
    address
}
