//! From the endpoint variables to one URL for each signal.

use std::net::IpAddr;

use http::Uri;

use super::export::Protocol;
use super::vars::Vars;
use super::{Listen, SIGNALS};
use crate::core::Signal;

pub(super) const OWN: &str = "LAMBDA_FLUSH_OTLP_ENDPOINT";
const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// What a signal's endpoint variables say.
pub(super) struct Given {
    /// For faults about the URL.
    pub(super) variable: String,
    /// Valid; of http or https.
    pub(super) url: Uri,
    /// Whether `/v1/<signal>` belongs behind it.
    base: bool,
    /// Whether it is ours: then the standard variables say how the function's SDKs reach us.
    pub(super) own: bool,
}

impl Given {
    /// The URL that requests go to.
    pub(super) fn target(&self, signal: Signal, protocol: Protocol, vars: &mut Vars<'_>) -> Option<Uri> {
        let path = match protocol {
            Protocol::HttpProtobuf if !self.base => return Some(self.url.clone()),
            Protocol::HttpProtobuf => {
                format!("{}/v1/{}", self.url.path().trim_end_matches('/'), signal.name())
            }
            Protocol::Grpc => {
                if self.base && self.url.path() != "/" {
                    vars.fault(&self.variable, "has a path, which OTLP/gRPC has not; it is left out");
                }
                let service = match signal {
                    Signal::Traces => "trace.v1.TraceService",
                    Signal::Metrics => "metrics.v1.MetricsService",
                    Signal::Logs => "logs.v1.LogsService",
                };
                format!("/opentelemetry.proto.collector.{service}/Export")
            }
        };
        let mut parts = self.url.clone().into_parts();
        parts.path_and_query = path.parse().ok();
        Uri::from_parts(parts).ok()
    }
}

/// The endpoints in the order of [`SIGNALS`]; without any, the reason is among the faults.
pub(super) fn read(vars: &mut Vars<'_>, listen: &Listen) -> [Option<Given>; 3] {
    let before = vars.faults.len();
    let base = base(vars, listen);
    let endpoints = SIGNALS.map(|(upper, _)| signal(vars, upper, base.as_ref(), listen));
    if endpoints.iter().all(Option::is_none) && vars.faults.len() == before {
        vars.fault(
            OWN,
            "is not set: telemetry is held and printed as dead letters at SHUTDOWN. Set it to the base URL of an OTLP \
             backend",
        );
    }
    endpoints
}

fn base(vars: &mut Vars<'_>, listen: &Listen) -> Option<Given> {
    let own = vars.text(OWN).map(|text| (OWN, text));
    let (variable, text) = own
        .or_else(|| vars.text(STANDARD).filter(|text| !is_own(text, listen)).map(|text| (STANDARD, text)))?;
    let url = backend(vars, variable, &text, listen)?;
    Some(Given { variable: variable.to_owned(), url, base: true, own: variable == OWN })
}

fn signal(vars: &mut Vars<'_>, upper: &str, base: Option<&Given>, listen: &Listen) -> Option<Given> {
    // Our own variable outranks the standard ones, also the one of a signal.
    let own = vars.text(OWN).is_some();
    let variable = format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT");
    if let Some(text) = vars.text(&variable).filter(|text| !own && !is_own(text, listen)) {
        let url = backend(vars, &variable, &text, listen)?;
        return Some(Given { variable, url, base: false, own: false });
    }
    base.map(|Given { variable, url, base, own }| Given {
        variable: variable.clone(),
        url: url.clone(),
        base: *base,
        own: *own,
    })
}

fn backend(vars: &mut Vars<'_>, variable: &str, text: &str, listen: &Listen) -> Option<Uri> {
    let url = text.parse::<Uri>().ok();
    let problem = match &url {
        None => "is not a URL; expected https://host:port",
        Some(url) if url.query().is_some() || credentials(url) => {
            "has a query or credentials in it; put credentials into LAMBDA_FLUSH_OTLP_HEADERS"
        }
        Some(url) => match (url.scheme_str(), url.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => {
                if !is_own(text, listen) {
                    return Some(url.clone());
                }
                "is this extension's own receiver, not a backend: set it to where telemetry should go"
            }
            _ => "is not an absolute http:// or https:// URL; expected https://host:port",
        },
    };
    vars.fault(variable, problem);
    None
}

fn credentials(url: &Uri) -> bool {
    url.authority().is_some_and(|authority| authority.as_str().contains('@'))
}

/// Where functions send OTLP to this extension: the function's SDKs and we read the same environment.
fn is_own(text: &str, listen: &Listen) -> bool {
    let Ok(url) = text.parse::<Uri>() else { return false };
    let ports = [listen.otlp_http, listen.otlp_grpc].map(|address| address.map(|address| address.port()));
    url.host().is_some_and(is_here) && url.port_u16().is_some_and(|port| ports.contains(&Some(port)))
}

/// Whether a host is this sandbox.
pub(super) fn is_here(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            ["localhost", "sandbox", "sandbox.localdomain"].contains(&name.as_str())
                || name.ends_with(".localhost")
        }
    }
}
