//! What the outcome of an export means to whoever configures it.

use lambda_flush_proto::otlp::secrets::Secrets;

use super::report::Finding;
use crate::core::Outcome;

/// What was tried, for the advice.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    /// `traces` and so on.
    pub(super) signal: &'static str,
    /// Names of the headers that were sent.
    pub(super) headers: Vec<String>,
    /// Their values, which no line may show, whoever's words it repeats.
    pub(super) secrets: Vec<String>,
    /// As configured.
    pub(super) timeout_ms: u64,
}

/// A gateway's whole page of HTML is no help.
const WORDS_CHARS_MAX: usize = 240;

impl Tried {
    /// Says how it went, and what to change.
    pub(super) fn judge(&self, outcome: Outcome) -> Finding {
        match outcome {
            Outcome::Exported => Finding::ok(format!("1 {} accepted", item(self.signal))),
            Outcome::Partial { message, .. } => Finding::fail(
                format!("refused by a partial success: {}", self.without_secrets(&message)),
                "the backend understood the request but not the item: follow its words",
            ),
            Outcome::Rejected { message } | Outcome::Refused { message } => {
                let change = self.advice(&message);
                Finding::fail(self.without_secrets(&message), change)
            }
            Outcome::Retry { message, .. } => {
                let change = self.patience(&message);
                Finding::fail(self.without_secrets(&message), change)
            }
        }
    }

    fn advice(&self, message: &str) -> String {
        let sent = if self.headers.is_empty() { "none".to_owned() } else { self.headers.join(", ") };
        let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if says(&["HTTP 401", "UNAUTHENTICATED"]) {
            return format!(
                "the backend does not know who is sending: put its credentials into LAMBDA_FLUSH_OTLP_HEADERS as \
                 key=value (sent now: {sent})"
            );
        }
        if says(&["HTTP 403", "PERMISSION_DENIED"]) {
            return format!(
                "the backend knows the credentials (sent: {sent}) but they may not write {}: let them, or use others",
                self.signal
            );
        }
        if says(&["HTTP 404", "HTTP 405", "HTTP 501", "UNIMPLEMENTED"]) {
            return format!(
                "there is no OTLP receiver for {0}: LAMBDA_FLUSH_OTLP_ENDPOINT is a base URL, /v1/{0} is appended; \
                 OTLP/HTTP is mostly on port 4318, OTLP/gRPC on 4317 (LAMBDA_FLUSH_OTLP_PROTOCOL)",
                self.signal
            );
        }
        if says(&["HTTP 400", "HTTP 415", "INVALID_ARGUMENT"]) {
            return "the backend does not take this format: see LAMBDA_FLUSH_OTLP_PROTOCOL and _COMPRESSION"
                .to_owned();
        }
        "a configuration that works elsewhere may not work here: follow the backend's words".to_owned()
    }

    fn patience(&self, message: &str) -> String {
        if message.contains("no connection within") {
            return "name, connection and TLS took longer than LAMBDA_FLUSH_OTLP_TIMEOUT".to_owned();
        }
        if message.contains("no answer within") {
            return format!(
                "the backend took the connection and did not answer within LAMBDA_FLUSH_OTLP_TIMEOUT ({} ms): is it \
                 an OTLP receiver, and is it well?",
                self.timeout_ms
            );
        }
        if ["HTTP 429", "RESOURCE_EXHAUSTED"].iter().any(|word| message.contains(word)) {
            return "the backend limits the rate: raise its limit; the extension will try again".to_owned();
        }
        if ["HTTP 502", "HTTP 503", "HTTP 504", "UNAVAILABLE"].iter().any(|word| message.contains(word)) {
            return "the backend, or a gateway before it, is not well; the extension will try again"
                .to_owned();
        }
        "the connection failed in the exchange: http:// to a TLS port, or a protocol the port does not speak \
         (LAMBDA_FLUSH_OTLP_PROTOCOL), look like this"
            .to_owned()
    }

    /// In one line, too.
    fn without_secrets(&self, words: &str) -> String {
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = Secrets::of(self.secrets.iter().map(String::as_str)).hidden(&words);
        words.chars().take(WORDS_CHARS_MAX).collect()
    }
}

fn item(signal: &str) -> &'static str {
    match signal {
        "traces" => "span",
        "metrics" => "data point",
        _ => "log record",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::report::Status;

    fn tried() -> Tried {
        Tried {
            signal: "traces",
            headers: vec!["authorization".to_owned()],
            secrets: vec!["Bearer s3cr3t-token".to_owned(), "x".to_owned()],
            timeout_ms: 10_000,
        }
    }

    fn change(outcome: Outcome) -> String {
        let finding = tried().judge(outcome);
        assert_eq!(finding.status, Status::Fail);
        finding.change.unwrap()
    }

    #[test]
    fn who_is_sending_is_told_apart_from_may_not_send() {
        for unknown in ["HTTP 401 Unauthorized", "gRPC UNAUTHENTICATED: no"] {
            assert!(
                change(Outcome::Refused { message: unknown.into() }).contains("LAMBDA_FLUSH_OTLP_HEADERS")
            );
        }
        for barred in ["HTTP 403 Forbidden", "gRPC PERMISSION_DENIED: no"] {
            assert!(change(Outcome::Refused { message: barred.into() }).contains("may not write traces"));
        }
        let silent =
            Outcome::Retry { after: None, maybe_sent: true, message: "no answer within 9 ms".into() };
        assert!(change(silent).contains("LAMBDA_FLUSH_OTLP_TIMEOUT"));
    }

    #[test]
    fn a_backend_that_repeats_the_credentials_does_not_get_them_printed() {
        for words in ["HTTP 401: Bearer s3cr3t-token is unknown", "HTTP 401: 's3cr3t-token'\nis unknown"] {
            let finding = tried().judge(Outcome::Refused { message: words.into() });
            assert!(!finding.detail.contains("s3cr3t"), "{finding:?}");
            assert!(finding.detail.contains("[hidden]") && finding.detail.contains("unknown"), "{finding:?}");
            assert!(!finding.detail.contains('\n'));
        }
    }
}
