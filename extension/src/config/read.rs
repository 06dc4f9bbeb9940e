//! Reading the variables. A fault never stops anything: the default is used and the fault is reported.

use std::net::SocketAddr;

use super::vars::Vars;
use super::{Config, Early, Fault, Listen, SocketAddress, Source, export};
use crate::core::{FlushConfig, Strategy};
use crate::limits::{
    BATCH_BYTES_MAX, BUFFER_BYTES_DEFAULT, BUFFER_BYTES_MIN, DEAD_LETTER_BYTES_PER_SECOND,
    MEMORY_MB_PER_CORE, REQUEST_BYTES_MAX_MAX, REQUEST_BYTES_MAX_MIN,
};

const BILLED_MS_DEFAULT: u64 = 100;
/// The longest a Lambda invocation may take; a larger cap means nothing.
const BILLED_MS_MAX: u64 = 900_000;

/// Only what has to be known before `register`.
#[must_use]
pub fn early(source: &dyn Source) -> Early {
    let vars = &mut Vars::new(source);
    Early { socket: socket(vars), listen: listen(vars), managed: managed(vars) }
}

/// The configuration and everything that is wrong with it, at once.
#[must_use]
pub fn read(source: &dyn Source) -> (Config, Vec<Fault>) {
    let vars = &mut Vars::new(source);
    let memory_mb = vars
        .text("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        .and_then(|text| text.parse::<u64>().ok())
        .unwrap_or(MEMORY_MB_PER_CORE);
    let listen = listen(vars);
    let export = export::read(vars, &listen);
    let flush = FlushConfig {
        strategy: strategy(vars),
        billed_max: vars.millis(&["LAMBDA_FLUSH_MAX_BILLED_MS"], BILLED_MS_DEFAULT, &(0..=BILLED_MS_MAX)),
        export_timeout: export.timeout_max(),
        managed: managed(vars),
        buffer_bytes_max: buffer(vars, memory_mb),
        request_bytes_max: vars.number(
            &["LAMBDA_FLUSH_OTLP_REQUEST_BYTES_MAX"],
            "bytes",
            BATCH_BYTES_MAX,
            &(REQUEST_BYTES_MAX_MIN..=REQUEST_BYTES_MAX_MAX),
        ),
        export: export.any(),
        dead_letter: dead_letter(vars),
        dead_letter_rate: (DEAD_LETTER_BYTES_PER_SECOND * memory_mb.min(MEMORY_MB_PER_CORE)
            / MEMORY_MB_PER_CORE)
            .max(1),
    };
    let config = Config { flush, export, socket: socket(vars), listen };
    (config, std::mem::take(&mut vars.faults))
}

fn managed(vars: &Vars<'_>) -> bool {
    vars.text("AWS_LAMBDA_INITIALIZATION_TYPE").is_some_and(|kind| kind == "lambda-managed-instances")
}

fn buffer(vars: &mut Vars<'_>, memory_mb: u64) -> u64 {
    const NAME: &str = "LAMBDA_FLUSH_BUFFER_BYTES_MAX";
    let default = BUFFER_BYTES_DEFAULT.min((memory_mb << 20) / 16).max(BUFFER_BYTES_MIN);
    let Some(text) = vars.text(NAME) else { return default };
    match text.parse::<u64>() {
        Ok(bytes) if bytes >= BUFFER_BYTES_MIN => bytes,
        Ok(_) => {
            vars.fault(NAME, format!("is less than {BUFFER_BYTES_MIN} bytes; that is used"));
            BUFFER_BYTES_MIN
        }
        Err(_) => {
            vars.fault(NAME, format!("is not a number of bytes; {default} is used"));
            default
        }
    }
}

fn strategy(vars: &mut Vars<'_>) -> Strategy {
    const NAME: &str = "LAMBDA_FLUSH_STRATEGY";
    let Some(text) = vars.text(NAME) else { return Strategy::End };
    match text.as_str() {
        "end" => return Strategy::End,
        "shutdown" => return Strategy::Shutdown,
        "adaptive" | "periodic" => {
            vars.fault(NAME, format!("is {text}, which acts as end in this version"));
        }
        text if text.starts_with("periodic:") => {
            vars.fault(NAME, "is periodic, which acts as end in this version");
        }
        _ => vars.fault(NAME, "is none of end, shutdown, adaptive, periodic:<dur>; end is used"),
    }
    Strategy::End
}

fn dead_letter(vars: &mut Vars<'_>) -> bool {
    const NAME: &str = "LAMBDA_FLUSH_DEAD_LETTER";
    match vars.text(NAME).as_deref() {
        None | Some("stdout") => true,
        Some("none") => false,
        Some(_) => {
            vars.fault(NAME, "is neither stdout nor none; stdout is used");
            true
        }
    }
}

fn socket(vars: &Vars<'_>) -> SocketAddress {
    match vars.text("LAMBDA_FLUSH_SOCKET") {
        Some(text) => match text.strip_prefix('@') {
            Some(name) => SocketAddress::Abstract(name.to_owned()),
            None => SocketAddress::Path(text.into()),
        },
        None => {
            let api = vars.text("AWS_LAMBDA_RUNTIME_API").unwrap_or_default();
            SocketAddress::Abstract(format!("lambda-flush/{api}"))
        }
    }
}

fn listen(vars: &mut Vars<'_>) -> Listen {
    Listen {
        otlp_http: address(vars, "LAMBDA_FLUSH_OTLP_HTTP_ADDR", "127.0.0.1:4318"),
        otlp_grpc: address(vars, "LAMBDA_FLUSH_OTLP_GRPC_ADDR", "127.0.0.1:4317"),
        telemetry: address(vars, "LAMBDA_FLUSH_TELEMETRY_ADDR", "0.0.0.0:4319"),
    }
}

/// `off` switches a receiver off.
fn address(vars: &mut Vars<'_>, name: &str, default: &str) -> Option<SocketAddr> {
    let default = default.parse().ok();
    let Some(text) = vars.text(name) else { return default };
    if text == "off" {
        return None;
    }
    text.parse().ok().or_else(|| {
        vars.fault(name, "is neither IP:port nor off; the default is used");
        default
    })
}
