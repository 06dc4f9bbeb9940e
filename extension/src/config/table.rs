//! The variables, for people: the README's table and `--help` are made from this.

/// One variable.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Every variable the extension reads. Those of `OTEL_EXPORTER_OTLP_` that stand for one of ours, also per signal
/// (`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`), go without saying.
pub const TABLE: &[Variable] = &[
    Variable {
        name: "LAMBDA_FLUSH_OTLP_ENDPOINT",
        default: "`OTEL_EXPORTER_OTLP_ENDPOINT`",
        meaning: "Base URL of the OTLP backend (`https://` or `http://`); for `http/protobuf` `/v1/traces` \
                  and so on are appended. Without one everything is dead-lettered. Set, it outranks all \
                  standard endpoints",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_PROTOCOL",
        default: "`http/protobuf`",
        meaning: "`http/protobuf` or `grpc`",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_HEADERS",
        default: "`OTEL_EXPORTER_OTLP_HEADERS`",
        meaning: "`key=value,key=value`, percent-encoded; sent with each export, never printed. Beside \
                  `LAMBDA_FLUSH_OTLP_ENDPOINT`, the standard headers, timeout and certificates count only while \
                  the standard endpoints are unset, this extension or the same origin: else they are another \
                  backend's",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_HEADERS_FROM",
        default: "",
        meaning: "`file:/path` with such a list, or one entry in a line. Read at the first export, and \
                  again when the backend answers 401 or 403",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_COMPRESSION",
        default: "`gzip`",
        meaning: "`gzip`, `zstd` or `none`",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_TIMEOUT",
        default: "`10000`",
        meaning: "One export request, in milliseconds; always cut to what the invocation or SHUTDOWN \
                  leaves",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_CERTIFICATE",
        default: "the built-in authorities",
        meaning: "PEM file with the authorities that an `https://` backend's certificate may be signed by. \
                  PEM files are read at the first connection; without one that is named nothing is sent",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_CLIENT_CERTIFICATE",
        default: "",
        meaning: "PEM file with the client certificate and its chain, for a backend that wants one",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_CLIENT_KEY",
        default: "",
        meaning: "PEM file with the client certificate's key",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_REQUEST_BYTES_MAX",
        default: "`524288`",
        meaning: "A request is closed at this size, in bytes before compression (16384 to 4194304); the last item \
                  in it may pass it",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_IDLE_MS",
        default: "`3000`",
        meaning: "A connection that was idle for longer is not used again, in milliseconds",
    },
    Variable {
        name: "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY",
        default: "",
        meaning: "`http://` proxies, in lower case too, with user and password percent-encoded; never used for \
                  this sandbox's own addresses",
    },
    Variable {
        name: "LAMBDA_FLUSH_NAME_SERVER",
        default: "`/etc/resolv.conf`",
        meaning: "An IP address (with or without a port), asked for the backend's name",
    },
    Variable {
        name: "LAMBDA_FLUSH_STRATEGY",
        default: "`end`",
        meaning: "`end`: export after each invocation. `shutdown`: only at SHUTDOWN or when memory is \
                  short. `adaptive` and `periodic:<dur>` act as `end` in this version",
    },
    Variable {
        name: "LAMBDA_FLUSH_MAX_BILLED_MS",
        default: "`100`",
        meaning: "The longest an invocation is prolonged after the function is done, in milliseconds",
    },
    Variable {
        name: "LAMBDA_FLUSH_BUFFER_BYTES_MAX",
        default: "16 MiB or 1/16 of the function's memory",
        meaning: "The most telemetry held, in bytes; at least 4194304",
    },
    Variable {
        name: "LAMBDA_FLUSH_DEAD_LETTER",
        default: "`stdout`",
        meaning: "`stdout`: what can't be exported at SHUTDOWN is printed. `none`: it is dropped and \
                  counted",
    },
    Variable {
        name: "LAMBDA_FLUSH_SOCKET",
        default: "`@lambda-flush/<AWS_LAMBDA_RUNTIME_API>`",
        meaning: "The hand-off socket: `@name` in the abstract namespace, or a path. Library and extension \
                  read it",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_HTTP_ADDR",
        default: "`127.0.0.1:4318`",
        meaning: "Where other SDKs' OTLP/HTTP is received, `IP:port`; `off` for nowhere",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_GRPC_ADDR",
        default: "`127.0.0.1:4317`",
        meaning: "The same for OTLP/gRPC",
    },
    Variable {
        name: "LAMBDA_FLUSH_TELEMETRY_ADDR",
        default: "`0.0.0.0:4319`",
        meaning: "Where the platform's Telemetry API delivers, `IP:port`; `off` for nowhere",
    },
];

/// The table as Markdown.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from("| variable | default | meaning |\n|---|---|---|\n");
    for Variable { name, default, meaning } in TABLE {
        out.push_str(&format!("| `{name}` | {default} | {meaning} |\n"));
    }
    out
}
