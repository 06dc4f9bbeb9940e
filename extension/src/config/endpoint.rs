//! From the endpoint variables to one URL for each signal.

use http::Uri;

use super::{Endpoints, Fault, Source};

const OWN: &str = "LAMBDA_FLUSH_OTLP_ENDPOINT";
const STANDARD: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Where functions may send OTLP to this extension. The function's SDKs and we read the same environment.
const OWN_PORTS: [u16; 2] = [4317, 4318];

/// The endpoints; without any, the reason is among `faults`.
pub(super) fn read(source: &dyn Source, faults: &mut Vec<Fault>) -> Endpoints {
    let before = faults.len();
    let base = base(source, faults);
    let endpoints = Endpoints {
        traces: signal(source, "TRACES", "traces", base.as_ref(), faults),
        metrics: signal(source, "METRICS", "metrics", base.as_ref(), faults),
        logs: signal(source, "LOGS", "logs", base.as_ref(), faults),
    };
    if endpoints == Endpoints::default() && faults.len() == before {
        faults.push(Fault {
            variable: OWN.into(),
            message: "is not set: telemetry is held and printed as dead letters at SHUTDOWN. Set it to the base URL \
                      of an OTLP/HTTP backend"
                .into(),
        });
    }
    endpoints
}

fn base(source: &dyn Source, faults: &mut Vec<Fault>) -> Option<String> {
    let (variable, text) =
        set(source, OWN).or_else(|| set(source, STANDARD).filter(|(_, text)| !is_own(text)))?;
    let uri = backend(variable, &text, faults)?;
    Some(uri.to_string().trim_end_matches('/').to_owned())
}

fn signal(
    source: &dyn Source,
    upper: &str,
    lower: &str,
    base: Option<&String>,
    faults: &mut Vec<Fault>,
) -> Option<Uri> {
    // Our own variable outranks the standard ones, also the one of a signal.
    let own = set(source, OWN).is_some();
    let variable = format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT");
    if let Some((_, text)) = set(source, &variable).filter(|(_, text)| !own && !is_own(text)) {
        return backend(&variable, &text, faults);
    }
    backend(OWN, &format!("{}/v1/{lower}", base?), faults)
}

fn set<'a>(source: &dyn Source, name: &'a str) -> Option<(&'a str, String)> {
    let text = source.var(name)?.trim().to_owned();
    (!text.is_empty()).then_some((name, text))
}

fn backend(variable: &str, text: &str, faults: &mut Vec<Fault>) -> Option<Uri> {
    let mut fault = |message: &str| {
        faults.push(Fault { variable: variable.into(), message: message.into() });
        None
    };
    let Ok(uri) = text.parse::<Uri>() else {
        return fault("is not a URL; expected http://host:port");
    };
    if uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return fault("has a query or credentials in it; put credentials into LAMBDA_FLUSH_OTLP_HEADERS");
    }
    match (uri.scheme_str(), uri.authority()) {
        (Some("https"), Some(_)) => {
            fault("has the scheme https, which this version does not speak yet: use an http:// endpoint")
        }
        (Some("http"), Some(_)) if is_own(text) => {
            fault("is this extension's own receiver, not a backend: set it to where telemetry should go")
        }
        (Some("http"), Some(_)) => Some(uri),
        _ => fault("is not an absolute http:// URL; expected http://host:port"),
    }
}

fn is_own(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let local = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]" | "0.0.0.0"));
    local && uri.port_u16().is_some_and(|port| OWN_PORTS.contains(&port))
}
