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

/// Every variable the extension reads.
pub const TABLE: &[Variable] = &[
    Variable {
        name: "LAMBDA_FLUSH_OTLP_ENDPOINT",
        default: "`OTEL_EXPORTER_OTLP_ENDPOINT`",
        meaning: "Base URL of the OTLP/HTTP backend (`http://`); `/v1/traces` and so on are appended. \
                  Without one everything is dead-lettered",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_HEADERS",
        default: "`OTEL_EXPORTER_OTLP_HEADERS`",
        meaning: "`key=value,key=value`, percent-encoded; sent with each export, never printed",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_PROTOCOL",
        default: "`http/protobuf`",
        meaning: "Only `http/protobuf` in this version",
    },
    Variable {
        name: "LAMBDA_FLUSH_OTLP_TIMEOUT",
        default: "`10000`",
        meaning: "One export request, in milliseconds; always cut to what the invocation or SHUTDOWN leaves",
    },
    Variable {
        name: "LAMBDA_FLUSH_STRATEGY",
        default: "`end`",
        meaning: "`end`: export after each invocation. `shutdown`: only at SHUTDOWN or when memory is short. \
                  `adaptive` and `periodic:<dur>` act as `end` in this version",
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
        meaning: "`stdout`: what can't be exported at SHUTDOWN is printed. `none`: it is dropped and counted",
    },
    Variable {
        name: "LAMBDA_FLUSH_SOCKET",
        default: "`@lambda-flush/<AWS_LAMBDA_RUNTIME_API>`",
        meaning: "The hand-off socket: `@name` in the abstract namespace, or a path. Library and extension read it",
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
