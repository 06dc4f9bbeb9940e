//! Reading the variables. A fault never stops anything: the default is used and the fault is reported.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use super::{Config, Endpoints, Fault, Headers, Listen, SocketAddress, Source, endpoint};
use crate::core::{FlushConfig, Strategy};
use crate::limits::{
    BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MIN, DEAD_LETTER_BYTES_PER_SECOND, MEMORY_MB_PER_CORE,
};

const BILLED_MS_DEFAULT: u64 = 100;
/// The longest a Lambda invocation may take; a larger cap means nothing.
const BILLED_MS_MAX: u64 = 900_000;
const TIMEOUT_MS_DEFAULT: u64 = 10_000;
const TIMEOUT_MS_MAX: u64 = 600_000;

/// The configuration and everything that is wrong with it, at once.
#[must_use]
pub fn read(source: &dyn Source) -> (Config, Vec<Fault>) {
    let mut faults = Vec::new();
    let memory_mb = source
        .var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(MEMORY_MB_PER_CORE);
    protocol(source, &mut faults);
    unread(source, &mut faults);
    let endpoints = endpoint::read(source, &mut faults);
    let flush = FlushConfig {
        strategy: strategy(source, &mut faults),
        billed_max: millis(
            source,
            &["LAMBDA_FLUSH_MAX_BILLED_MS"],
            BILLED_MS_DEFAULT,
            0..=BILLED_MS_MAX,
            &mut faults,
        ),
        export_timeout: millis(
            source,
            &["LAMBDA_FLUSH_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"],
            TIMEOUT_MS_DEFAULT,
            1..=TIMEOUT_MS_MAX,
            &mut faults,
        ),
        managed: first(source, &["AWS_LAMBDA_INITIALIZATION_TYPE"])
            .is_some_and(|(_, kind)| kind == "lambda-managed-instances"),
        buffer_bytes_max: buffer(source, memory_mb, &mut faults),
        export: endpoints != Endpoints::default(),
        dead_letter: dead_letter(source, &mut faults),
        dead_letter_rate: (DEAD_LETTER_BYTES_PER_SECOND * memory_mb.min(MEMORY_MB_PER_CORE)
            / MEMORY_MB_PER_CORE)
            .max(1),
    };
    let config = Config {
        flush,
        endpoints,
        headers: headers(source, &mut faults),
        socket: socket(source),
        listen: listen(source, &mut faults),
    };
    (config, faults)
}

fn first<'a>(source: &dyn Source, names: &[&'a str]) -> Option<(&'a str, String)> {
    names.iter().find_map(|name| {
        let text = source.var(name)?.trim().to_owned();
        (!text.is_empty()).then_some((*name, text))
    })
}

fn fault(faults: &mut Vec<Fault>, variable: &str, message: String) {
    faults.push(Fault { variable: variable.to_owned(), message });
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn millis(
    source: &dyn Source,
    names: &[&str],
    default: u64,
    range: std::ops::RangeInclusive<u64>,
    faults: &mut Vec<Fault>,
) -> Duration {
    let Some((name, text)) = first(source, names) else { return Duration::from_millis(default) };
    match number::<u64>(&text).filter(|value| range.contains(value)) {
        Some(value) => Duration::from_millis(value),
        None => {
            let (least, most) = (range.start(), range.end());
            fault(
                faults,
                name,
                format!("is not a number of milliseconds from {least} to {most}; {default} is used"),
            );
            Duration::from_millis(default)
        }
    }
}

fn buffer(source: &dyn Source, memory_mb: u64, faults: &mut Vec<Fault>) -> u64 {
    const NAME: &str = "LAMBDA_FLUSH_BUFFER_BYTES_MAX";
    let default = BUFFER_BYTES_DEFAULT.min((memory_mb << 20) / 16).max(BUFFER_BYTES_MIN);
    let Some((name, text)) = first(source, &[NAME]) else { return default };
    match number::<u64>(&text) {
        Some(bytes) if bytes >= BUFFER_BYTES_MIN => bytes,
        Some(_) => {
            fault(faults, name, format!("is less than {BUFFER_BYTES_MIN} bytes; that is used"));
            BUFFER_BYTES_MIN
        }
        None => {
            fault(faults, name, format!("is not a number of bytes; {default} is used"));
            default
        }
    }
}

fn strategy(source: &dyn Source, faults: &mut Vec<Fault>) -> Strategy {
    let Some((name, text)) = first(source, &["LAMBDA_FLUSH_STRATEGY"]) else { return Strategy::End };
    match text.as_str() {
        "end" => Strategy::End,
        "shutdown" => Strategy::Shutdown,
        "adaptive" | "periodic" => {
            fault(faults, name, format!("is {text}, which acts as end in this version"));
            Strategy::End
        }
        text if text.starts_with("periodic:") => {
            fault(faults, name, "is periodic, which acts as end in this version".to_owned());
            Strategy::End
        }
        _ => {
            fault(faults, name, "is none of end, shutdown, adaptive, periodic:<dur>; end is used".to_owned());
            Strategy::End
        }
    }
}

fn protocol(source: &dyn Source, faults: &mut Vec<Fault>) {
    let names = ["LAMBDA_FLUSH_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    if let Some((name, text)) = first(source, &names)
        && text != "http/protobuf"
    {
        fault(
            faults,
            name,
            "is not http/protobuf, the only protocol of this version; that is used".to_owned(),
        );
    }
}

/// Standard variables that would change what is sent, and that this version does not read.
fn unread(source: &dyn Source, faults: &mut Vec<Fault>) {
    let per_signal = |what: &str| {
        ["TRACES", "METRICS", "LOGS"].map(|signal| format!("OTEL_EXPORTER_OTLP_{signal}_{what}")).to_vec()
    };
    let mut names = ["HEADERS", "PROTOCOL", "TIMEOUT", "COMPRESSION"].map(per_signal).concat();
    names.push("OTEL_EXPORTER_OTLP_COMPRESSION".to_owned());
    names.push("OTEL_EXPORTER_OTLP_CERTIFICATE".to_owned());
    for name in names {
        if first(source, &[&name]).is_some() {
            fault(faults, &name, "is not read by this version".to_owned());
        }
    }
}

fn dead_letter(source: &dyn Source, faults: &mut Vec<Fault>) -> bool {
    let Some((name, text)) = first(source, &["LAMBDA_FLUSH_DEAD_LETTER"]) else { return true };
    match text.as_str() {
        "stdout" => true,
        "none" => false,
        _ => {
            fault(faults, name, "is neither stdout nor none; stdout is used".to_owned());
            true
        }
    }
}

fn headers(source: &dyn Source, faults: &mut Vec<Fault>) -> Headers {
    let names = ["LAMBDA_FLUSH_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
    let Some((name, text)) = first(source, &names) else { return Headers::default() };
    let (headers, wrong) = Headers::parse(&text);
    for message in wrong {
        fault(faults, name, format!("{message}; it is left out"));
    }
    headers
}

fn socket(source: &dyn Source) -> SocketAddress {
    match first(source, &["LAMBDA_FLUSH_SOCKET"]) {
        Some((_, text)) => match text.strip_prefix('@') {
            Some(name) => SocketAddress::Abstract(name.to_owned()),
            None => SocketAddress::Path(text.into()),
        },
        None => {
            let api = source.var("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
            SocketAddress::Abstract(format!("lambda-flush/{api}"))
        }
    }
}

fn listen(source: &dyn Source, faults: &mut Vec<Fault>) -> Listen {
    Listen {
        otlp_http: address(source, "LAMBDA_FLUSH_OTLP_HTTP_ADDR", "127.0.0.1:4318", faults),
        otlp_grpc: address(source, "LAMBDA_FLUSH_OTLP_GRPC_ADDR", "127.0.0.1:4317", faults),
        telemetry: address(source, "LAMBDA_FLUSH_TELEMETRY_ADDR", "0.0.0.0:4319", faults),
    }
}

/// `off` switches a receiver off.
fn address(source: &dyn Source, name: &str, default: &str, faults: &mut Vec<Fault>) -> Option<SocketAddr> {
    let default = default.parse().ok();
    let Some((name, text)) = first(source, &[name]) else { return default };
    if text == "off" {
        return None;
    }
    text.parse().ok().or_else(|| {
        fault(faults, name, "is neither IP:port nor off; the default is used".to_owned());
        default
    })
}
