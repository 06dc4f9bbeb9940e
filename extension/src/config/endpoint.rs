//! From the endpoint variables to one URL for each signal.

use std::net::SocketAddr;

use http::Uri;
use lambda_flush_proto::otlp::origin::{Origin, UrlFault};

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

/// The endpoints in the order of [`SIGNALS`]; without one the reason is among the faults.
pub(super) fn read(vars: &mut Vars<'_>, listen: &Listen) -> [Option<Given>; 3] {
    let before = vars.faults.len();
    let base = base(vars, listen);
    let endpoints = SIGNALS.map(|(upper, _)| signal(vars, upper, base.as_ref(), listen));
    let nowhere: Vec<_> = SIGNALS.iter().zip(&endpoints).filter(|(_, given)| given.is_none()).collect();
    if nowhere.len() == SIGNALS.len() {
        if vars.faults.len() == before {
            vars.fault(
                OWN,
                "is not set: telemetry is held and printed as dead letters at SHUTDOWN. Set it to the base URL of an \
                 OTLP backend",
            );
        }
    } else if !nowhere.is_empty() {
        let names: Vec<_> = nowhere.iter().map(|((_, signal), _)| signal.name()).collect();
        vars.fault(
            OWN,
            format!(
                "is not set, and nothing else says where {} should go: held and printed as dead letters at SHUTDOWN. \
                 Set it, or {STANDARD}, to the base URL of an OTLP backend",
                names.join(" and ")
            ),
        );
    }
    endpoints
}

/// Whether the standard options of a signal, and those of all signals, are meant for `given` too. Beside an endpoint of
/// ours they may be another backend's, which must not be sent its credentials.
pub(super) fn standard_options(vars: &Vars<'_>, upper: &str, given: &Given, listen: &Listen) -> (bool, bool) {
    if !given.own {
        return (true, true);
    }
    let ours = Origin::parse(&given.url.to_string());
    let meant = |variable: &str| {
        vars.text(variable)
            .is_none_or(|text| is_receiver(&text, &listen.otlp()) || Origin::parse(&text) == ours)
    };
    let of_signal = |upper: &str| format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT");
    let standard = meant(STANDARD);
    let own = of_signal(upper);
    let signal = if vars.text(&own).is_some() { meant(&own) } else { standard };
    (signal, standard && SIGNALS.iter().all(|(upper, _)| meant(&of_signal(upper))))
}

fn base(vars: &mut Vars<'_>, listen: &Listen) -> Option<Given> {
    let own = vars.text(OWN).map(|text| (OWN, text));
    let standard = || vars.text(STANDARD).filter(|text| !is_receiver(text, &listen.otlp()));
    let (variable, text) = own.or_else(|| Some((STANDARD, standard()?)))?;
    let url = backend(vars, variable, &text, listen)?;
    if url.query().is_some() {
        vars.fault(
            variable,
            "has a query, which a base URL has not; put credentials into LAMBDA_FLUSH_OTLP_HEADERS",
        );
        return None;
    }
    Some(Given { variable: variable.to_owned(), url, base: true, own: variable == OWN })
}

fn signal(vars: &mut Vars<'_>, upper: &str, base: Option<&Given>, listen: &Listen) -> Option<Given> {
    // Our own variable outranks the standard ones, also the one of a signal.
    let own = vars.text(OWN).is_some();
    let variable = format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT");
    if let Some(text) = vars.text(&variable).filter(|text| !own && !is_receiver(text, &listen.otlp())) {
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
    let problem = match (Origin::parse(text), text.parse::<Uri>()) {
        (_, Err(_)) => "is not a URL; expected https://host:port",
        (_, Ok(url)) if credentials(&url) => "has credentials in it; put them into LAMBDA_FLUSH_OTLP_HEADERS",
        (Err(UrlFault::NotAbsolute), _) => {
            "is not an absolute http:// or https:// URL; expected https://host:port"
        }
        (Err(UrlFault::Port), _) => "has no port from 1 to 65535 after its host; expected https://host:port",
        (Ok(_), Ok(_)) if is_receiver(text, &listen.all()) => {
            "is this extension's own receiver, not a backend: set it to where telemetry should go"
        }
        (Ok(_), Ok(url)) => return Some(url),
    };
    vars.fault(variable, problem);
    None
}

fn credentials(url: &Uri) -> bool {
    url.authority().is_some_and(|authority| authority.as_str().contains('@'))
}

/// Whether this is where one of these listeners is reached.
fn is_receiver(text: &str, listen: &[Option<SocketAddr>]) -> bool {
    Origin::parse(text).is_ok_and(|origin| listen.iter().flatten().any(|address| origin.reaches(*address)))
}
