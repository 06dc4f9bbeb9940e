//! Where direct mode exports to, and how: `LAMBDA_FLUSH_OTLP_*` first, then `OTEL_EXPORTER_OTLP_*`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use lambda_flush_proto::Signal;
use lambda_flush_proto::dns;
use lambda_flush_proto::otlp::headers::{self, Header};
use lambda_flush_proto::otlp::origin::{Origin, UrlFault};

use crate::config::Source;

const BASE: [&str; 2] = ["LAMBDA_FLUSH_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: [&str; 2] = ["LAMBDA_FLUSH_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];

/// Where the extension's receivers would be, and who says so. In Lambda these are no backend: the function's SDKs and
/// the extension read the same environment.
const RECEIVERS: [(&str, &str); 3] = [
    ("LAMBDA_FLUSH_OTLP_HTTP_ADDR", "127.0.0.1:4318"),
    ("LAMBDA_FLUSH_OTLP_GRPC_ADDR", "127.0.0.1:4317"),
    ("LAMBDA_FLUSH_TELEMETRY_ADDR", "0.0.0.0:4319"),
];

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
/// The same, as the standard variables name them.
const UPPER: [&str; 3] = ["TRACES", "METRICS", "LOGS"];

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
        headers: UPPER.map(|signal| reader.headers(signal)),
        certificates: reader.certificates(),
        name_server: reader.name_server(),
        timeout: reader.timeout(),
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
        let base = base.and_then(|(name, text)| {
            let uri = self.backend(name, &text)?;
            if uri.query().is_some() {
                self.fault(name, "has a query, which a base URL has not");
                return None;
            }
            Some(uri)
        });
        [("TRACES", "traces"), ("METRICS", "metrics"), ("LOGS", "logs")].map(|(upper, lower)| {
            // Our own variable outranks the standard ones, also that of a signal.
            let name = format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT");
            let text = self.text(&name).filter(|text| self.text(own).is_none() && !self.is_receiver(text));
            match text {
                Some(text) => self.backend(&name, &text),
                None => {
                    let base = base.as_ref()?;
                    format!("{}/v1/{lower}", base.to_string().trim_end_matches('/')).parse().ok()
                }
            }
        })
    }

    fn backend(&mut self, name: &str, text: &str) -> Option<Uri> {
        let problem = match (Origin::parse(text), text.parse::<Uri>()) {
            (Err(UrlFault::Port), _) => "has no port from 1 to 65535 after its host",
            (Ok(_), Ok(_)) if self.is_receiver(text) => "is the extension's own receiver, not a backend",
            (Ok(_), Ok(uri)) => return Some(uri),
            _ => "is not an absolute http:// or https:// URL",
        };
        self.fault(name, problem);
        None
    }

    fn is_receiver(&self, text: &str) -> bool {
        let Ok(origin) = Origin::parse(text) else { return false };
        let listens = |(name, default): &(&str, &str)| {
            let told = self.text(name);
            if told.as_deref() == Some("off") {
                return None;
            }
            told.and_then(|told| told.parse().ok()).or_else(|| default.parse::<SocketAddr>().ok())
        };
        self.in_lambda && RECEIVERS.iter().filter_map(listens).any(|listen| origin.reaches(listen))
    }

    /// Whether the standard options, of a signal or of all (`None`), are meant for our endpoint too: beside
    /// `LAMBDA_FLUSH_OTLP_ENDPOINT` they may be another backend's, which must not be sent its credentials.
    fn meant(&self, signal: Option<&str>) -> bool {
        let [own, standard] = BASE;
        let Some(ours) = self.text(own) else { return true };
        let ours = Origin::parse(&ours);
        let same = |text: String| self.is_receiver(&text) || Origin::parse(&text) == ours;
        let endpoint = |signal: &str| self.text(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"));
        let common = || self.text(standard).is_none_or(same);
        match signal {
            Some(signal) => endpoint(signal).map_or_else(common, same),
            None => common() && UPPER.iter().all(|signal| endpoint(signal).is_none_or(same)),
        }
    }

    /// The names of an option, the one that counts most first.
    fn names(&self, signal: Option<&str>, option: &str) -> Vec<String> {
        let mut names = vec![format!("LAMBDA_FLUSH_OTLP_{option}")];
        if let Some(signal) = signal.filter(|signal| self.meant(Some(signal))) {
            names.push(format!("OTEL_EXPORTER_OTLP_{signal}_{option}"));
        }
        if self.meant(None) {
            names.push(format!("OTEL_EXPORTER_OTLP_{option}"));
        }
        names
    }

    fn timeout(&mut self) -> Duration {
        let names = self.names(None, "TIMEOUT");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.millis(&names, TIMEOUT_MS_DEFAULT, 1..=TIMEOUT_MS_MAX)
    }

    fn headers(&mut self, signal: &str) -> HeaderMap {
        let names = self.names(Some(signal), "HEADERS");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
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
        let names = self.names(None, "CERTIFICATE");
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (name, path) = self.first(&names)?;
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
#[path = "settings_tests.rs"]
mod tests;
