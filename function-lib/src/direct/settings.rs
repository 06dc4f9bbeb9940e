//! Where direct mode exports to, and how: `LAMBDA_FLUSH_OTLP_*` first, then `OTEL_EXPORTER_OTLP_*`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use lambda_flush_proto::Signal;
use lambda_flush_proto::dns;
use lambda_flush_proto::otlp::headers::{self, Header};

use crate::config::Source;

const BASE: [&str; 2] = ["LAMBDA_FLUSH_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const CERTIFICATE: [&str; 2] = ["LAMBDA_FLUSH_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const PROTOCOL: [&str; 2] = ["LAMBDA_FLUSH_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const TIMEOUT: [&str; 2] = ["LAMBDA_FLUSH_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];

/// Where the extension's receivers would be. In Lambda these are no backend: the function's SDKs and the
/// extension read the same environment.
const RECEIVER_PORTS: [u16; 2] = [4317, 4318];

const TIMEOUT_MS_DEFAULT: u64 = 10_000;
const TIMEOUT_MS_MAX: u64 = 600_000;
const BILLED_MS_DEFAULT: u64 = 100;
/// The longest a Lambda invocation may take; a larger cap means nothing.
const BILLED_MS_MAX: u64 = 900_000;
const HELD_BYTES_DEFAULT: u64 = 16 << 20;
const HELD_BYTES_MIN: u64 = 1 << 20;
const CERTIFICATE_BYTES_MAX: u64 = 1 << 20;

/// What [`read`] found.
#[derive(Clone)]
pub(crate) struct Settings {
    endpoints: [Option<Uri>; 3],
    headers: [HeaderMap; 3],
    /// PEM, instead of the built-in roots.
    pub(crate) certificates: Option<Vec<u8>>,
    pub(crate) name_server: Option<SocketAddr>,
    /// One request.
    pub(crate) timeout: Duration,
    /// How long the end of an invocation waits for an export.
    pub(crate) billed_max: Duration,
    pub(crate) held_bytes_max: usize,
}

impl Settings {
    /// Where `signal` goes, if anywhere.
    pub(crate) fn endpoint(&self, signal: Signal) -> Option<&Uri> {
        self.endpoints.get(index(signal))?.as_ref()
    }

    /// What goes with it. Carries credentials.
    pub(crate) fn headers(&self, signal: Signal) -> HeaderMap {
        self.headers.get(index(signal)).cloned().unwrap_or_default()
    }

    /// For people: scheme, host and port of one of them.
    pub(crate) fn destination(&self) -> String {
        self.endpoints.iter().flatten().next().and_then(origin).unwrap_or_default()
    }
}

/// Scheme, host and port. Not the user and password a URL may have.
fn origin(uri: &Uri) -> Option<String> {
    let port = uri.port().map_or(String::new(), |port| format!(":{port}"));
    Some(format!("{}://{}{port}", uri.scheme_str()?, uri.host()?))
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |uri: &Uri| origin(uri).map(|origin| origin + uri.path());
        let endpoints = self.endpoints.each_ref().map(|uri| uri.as_ref().and_then(shown));
        f.debug_struct("Settings").field("endpoints", &endpoints).finish_non_exhaustive()
    }
}

/// The signals in the order of what is kept for each.
pub(crate) const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

/// The place of a signal in [`SIGNALS`]. Whatever has none is taken for a trace.
pub(crate) fn index(signal: Signal) -> usize {
    SIGNALS.iter().position(|known| *known == signal).unwrap_or_default()
}

/// The settings, if there is an endpoint, and all faults in them at once.
pub(crate) fn read(source: &dyn Source) -> (Option<Settings>, Vec<String>) {
    let mut reader =
        Reader { source, faults: Vec::new(), in_lambda: source.var("AWS_LAMBDA_RUNTIME_API").is_some() };
    let endpoints = reader.endpoints();
    if endpoints.iter().all(Option::is_none) {
        return (None, reader.faults);
    }
    if let Some((name, text)) = reader.first(&PROTOCOL)
        && text != "http/protobuf"
    {
        reader.fault(name, "is not http/protobuf, the only protocol of this version; that is used");
    }
    let settings = Settings {
        endpoints,
        headers: ["TRACES", "METRICS", "LOGS"].map(|signal| reader.headers(signal)),
        certificates: reader.certificates(),
        name_server: reader.name_server(),
        timeout: reader.millis(&TIMEOUT, TIMEOUT_MS_DEFAULT, 1..=TIMEOUT_MS_MAX),
        billed_max: reader.millis(&["LAMBDA_FLUSH_MAX_BILLED_MS"], BILLED_MS_DEFAULT, 0..=BILLED_MS_MAX),
        held_bytes_max: reader.held_bytes_max(),
    };
    (Some(settings), reader.faults)
}

struct Reader<'a> {
    source: &'a dyn Source,
    faults: Vec<String>,
    in_lambda: bool,
}

impl Reader<'_> {
    fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| Some((*name, self.text(name)?)))
    }

    fn text(&self, name: &str) -> Option<String> {
        let text = self.source.var(name)?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn fault(&mut self, name: &str, problem: &str) {
        self.faults.push(format!("{name} {problem}"));
    }

    fn endpoints(&mut self) -> [Option<Uri>; 3] {
        let [own, standard] = BASE;
        let base = self.text(own).map(|text| (own, text)).or_else(|| {
            self.text(standard).map(|text| (standard, text)).filter(|(_, text)| !self.is_receiver(text))
        });
        let base = base.and_then(|(name, text)| Some((name, self.backend(name, &text)?)));
        [("TRACES", "traces"), ("METRICS", "metrics"), ("LOGS", "logs")].map(|(upper, lower)| {
            // Our own variable outranks the standard ones, also that of a signal.
            let name = format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT");
            let text = self.text(&name).filter(|text| self.text(own).is_none() && !self.is_receiver(text));
            match text {
                Some(text) => self.backend(&name, &text),
                None => {
                    let (_, base) = base.as_ref()?;
                    format!("{}/v1/{lower}", base.to_string().trim_end_matches('/')).parse().ok()
                }
            }
        })
    }

    fn backend(&mut self, name: &str, text: &str) -> Option<Uri> {
        let uri = text.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        let problem = match &uri {
            Some(_) if self.is_receiver(text) => "is the extension's own receiver, not a backend",
            Some(uri) if uri.query().is_some() => "has a query, which an OTLP endpoint has not",
            Some(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => return Some(uri.clone()),
            _ => "is not an absolute http:// or https:// URL",
        };
        self.fault(name, problem);
        None
    }

    fn is_receiver(&self, text: &str) -> bool {
        let Ok(uri) = text.parse::<Uri>() else { return false };
        let local = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]" | "0.0.0.0"));
        self.in_lambda && local && uri.port_u16().is_some_and(|port| RECEIVER_PORTS.contains(&port))
    }

    fn headers(&mut self, signal: &str) -> HeaderMap {
        let of_signal = format!("OTEL_EXPORTER_OTLP_{signal}_HEADERS");
        let names = ["LAMBDA_FLUSH_OTLP_HEADERS", of_signal.as_str(), "OTEL_EXPORTER_OTLP_HEADERS"];
        let Some((name, text)) = self.first(&names) else { return HeaderMap::new() };
        let (listed, problems) = headers::list(&text);
        for problem in problems {
            let told = format!("{name} {problem}; it is left out");
            // The three signals mostly share one variable.
            if !self.faults.contains(&told) {
                self.faults.push(told);
            }
        }
        listed.iter().filter_map(header).collect()
    }

    fn certificates(&mut self) -> Option<Vec<u8>> {
        let (name, path) = self.first(&CERTIFICATE)?;
        match read_file(&path) {
            Ok(pem) if super::client::certificates(&pem).is_some() => Some(pem),
            Ok(_) => {
                self.fault(name, "names a file without a PEM certificate; the built-in roots are used");
                None
            }
            Err(error) => {
                self.fault(name, &format!("can't be read ({error}); the built-in roots are used"));
                None
            }
        }
    }

    fn name_server(&mut self) -> Option<SocketAddr> {
        const NAME: &str = "LAMBDA_FLUSH_NAME_SERVER";
        let text = self.text(NAME)?;
        let address = text.parse().ok();
        let address = address.or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, dns::PORT)));
        if address.is_none() {
            self.fault(NAME, "is no IP address (with or without a port); /etc/resolv.conf is used");
        }
        address
    }

    fn millis(&mut self, names: &[&str], default: u64, range: RangeInclusive<u64>) -> Duration {
        let Some((name, text)) = self.first(names) else { return Duration::from_millis(default) };
        let millis = text.parse().ok().filter(|value| range.contains(value)).unwrap_or_else(|| {
            let (least, most) = (range.start(), range.end());
            self.fault(
                name,
                &format!("is not a number of milliseconds from {least} to {most}; {default} is used"),
            );
            default
        });
        Duration::from_millis(millis)
    }

    fn held_bytes_max(&mut self) -> usize {
        const NAME: &str = "LAMBDA_FLUSH_BUFFER_BYTES_MAX";
        let memory_mb: Option<u64> =
            self.text("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|text| text.parse().ok());
        let share = memory_mb.map_or(u64::MAX, |memory_mb| memory_mb.saturating_mul(1 << 20) / 16);
        let default = HELD_BYTES_DEFAULT.min(share).max(HELD_BYTES_MIN);
        let bytes = match self.text(NAME) {
            None => default,
            Some(text) => text.parse().unwrap_or_else(|_| {
                self.fault(NAME, &format!("is not a number of bytes; {default} is used"));
                default
            }),
        };
        usize::try_from(bytes.max(HELD_BYTES_MIN)).unwrap_or(usize::MAX)
    }
}

fn read_file(path: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(CERTIFICATE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// As HTTP's types.
fn header(header: &Header) -> Option<(HeaderName, HeaderValue)> {
    let mut value = HeaderValue::from_str(&header.value).ok()?;
    value.set_sensitive(true);
    Some((HeaderName::from_bytes(header.name.as_bytes()).ok()?, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn settings(pairs: &[(&str, &str)]) -> (Option<Settings>, Vec<String>) {
        let source: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(&source)
    }

    fn endpoints(pairs: &[(&str, &str)]) -> [String; 3] {
        let settings = settings(pairs).0;
        SIGNALS.map(|signal| {
            settings
                .as_ref()
                .and_then(|settings| settings.endpoint(signal))
                .map_or_else(String::new, Uri::to_string)
        })
    }

    #[test]
    fn our_own_endpoint_comes_first_then_a_signals_then_the_common_one() {
        let standard = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://standard.example/otlp/");
        let logs = ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs.example/as-is");
        let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://own.example:4318");
        let base = "https://standard.example/otlp/v1";
        assert_eq!(
            endpoints(&[standard, logs]),
            [format!("{base}/traces"), format!("{base}/metrics"), "http://logs.example/as-is".to_owned()]
        );
        let base = "http://own.example:4318/v1";
        assert_eq!(
            endpoints(&[standard, logs, own]),
            ["traces", "metrics", "logs"].map(|name| format!("{base}/{name}"))
        );
        assert_eq!(
            endpoints(&[logs]),
            [String::new(), String::new(), "http://logs.example/as-is".to_owned()]
        );
        assert!(settings(&[]).0.is_none() && settings(&[]).1.is_empty());
    }

    #[test]
    fn the_extensions_receiver_is_a_backend_outside_lambda_only() {
        let receiver = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        let lambda = ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001");
        assert_eq!(endpoints(&[receiver])[0], "http://localhost:4318/v1/traces");
        let (none, faults) = settings(&[receiver, lambda]);
        assert!(none.is_none() && faults.is_empty());
        let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "http://127.0.0.1:4317");
        let (none, faults) = settings(&[own, lambda]);
        assert!(none.is_none() && faults.len() == 1, "{faults:?}");
    }

    #[test]
    fn all_faults_are_told_at_once_and_no_secret_is() {
        let (settings, faults) = settings(&[
            ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://backend.example"),
            ("LAMBDA_FLUSH_OTLP_HEADERS", "authorization=Bearer%20s3cret,s3cret"),
            ("LAMBDA_FLUSH_OTLP_PROTOCOL", "grpc"),
            ("LAMBDA_FLUSH_OTLP_TIMEOUT", "soon"),
            ("LAMBDA_FLUSH_OTLP_CERTIFICATE", "/nonexistent"),
            ("LAMBDA_FLUSH_NAME_SERVER", "here"),
            ("LAMBDA_FLUSH_BUFFER_BYTES_MAX", "plenty"),
            ("LAMBDA_FLUSH_MAX_BILLED_MS", "-1"),
        ]);
        let settings = settings.unwrap();
        assert_eq!(faults.len(), 7, "{faults:#?}");
        assert_eq!(settings.headers(Signal::Logs).get("authorization").unwrap(), "Bearer s3cret");
        assert!(!format!("{faults:?}{settings:?}").contains("s3cret"));
        assert_eq!(
            (settings.billed_max, settings.timeout),
            (Duration::from_millis(100), Duration::from_secs(10))
        );
        assert_eq!(settings.destination(), "https://backend.example");
    }

    #[test]
    fn a_password_in_a_url_is_shown_to_nobody() {
        let own = ("LAMBDA_FLUSH_OTLP_ENDPOINT", "https://user:hunter2@backend.example:8443/base");
        let settings = settings(&[own]).0.unwrap();
        let shown = format!("{settings:?} {}", settings.destination());
        assert!(!shown.contains("hunter2") && !shown.contains("user"), "{shown}");
        assert!(shown.contains("https://backend.example:8443/base/v1/traces"), "{shown}");
        assert!(settings.endpoint(Signal::Traces).unwrap().to_string().contains("hunter2"), "it is used");
    }

    #[test]
    fn a_url_that_is_none_is_a_fault() {
        for text in
            ["backend.example:4318", "ftp://backend.example", "http://", "nonsense", "http://a.example/?b"]
        {
            let (none, faults) = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", text)]);
            assert!(none.is_none() && faults.len() == 1, "{text}: {faults:?}");
        }
    }

    #[test]
    fn memory_bounds_what_is_held() {
        let held = |memory_mb| {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a.example");
            settings(&[endpoint, ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", memory_mb)]).0.unwrap().held_bytes_max
        };
        assert_eq!([held("128"), held("10240")], [8 << 20, 16 << 20]);
    }
}
