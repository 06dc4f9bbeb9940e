//! `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in lower case too, as curl reads them.

use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use lambda_flush_proto::otlp::origin::{Origin, is_here};

use super::vars::Vars;

/// Which destinations are reached through which proxy.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Option<std::sync::Arc<Matcher>>);

/// A proxy to be used.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Its host and port.
    pub url: Uri,
    /// `Proxy-Authorization`, if the URL had credentials.
    pub authorization: Option<HeaderValue>,
}

impl Proxies {
    /// The proxy for `destination`. Never one for the sandbox itself.
    #[must_use]
    pub fn of(&self, destination: &Uri) -> Option<Proxy> {
        if destination.host().is_none_or(is_here) {
            return None;
        }
        let intercept = self.0.as_ref()?.intercept(destination)?;
        Some(Proxy { url: intercept.uri().clone(), authorization: intercept.basic_auth().cloned() })
    }
}

pub(super) fn read(vars: &mut Vars<'_>) -> Proxies {
    let all = proxy(vars, "ALL_PROXY");
    let http = proxy(vars, "HTTP_PROXY");
    let https = proxy(vars, "HTTPS_PROXY");
    if all.is_none() && http.is_none() && https.is_none() {
        return Proxies::default();
    }
    let none = either(vars, "NO_PROXY").map(|(_, text)| text).unwrap_or_default();
    let text = Option::unwrap_or_default;
    let matcher = Matcher::builder().all(text(all)).http(text(http)).https(text(https)).no(none).build();
    Proxies(Some(matcher.into()))
}

/// Upper or lower case.
fn either(vars: &Vars<'_>, name: &str) -> Option<(String, String)> {
    [name.to_owned(), name.to_ascii_lowercase()].into_iter().find_map(|name| {
        let text = vars.text(&name)?;
        Some((name, text))
    })
}

fn proxy(vars: &mut Vars<'_>, name: &str) -> Option<String> {
    let (name, text) = either(vars, name)?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", &text));
    if !scheme.eq_ignore_ascii_case("http") {
        vars.fault(&name, "is no http:// proxy, the only kind that is supported; it is not used");
        return None;
    }
    // A password with one of these would be cut in two, and its first part taken for a host or port.
    let path = rest.find(['/', '?', '#']).and_then(|end| rest.get(end..)).unwrap_or_default();
    let sound = text.parse::<Uri>().is_ok() && Origin::parse(&format!("http://{rest}")).is_ok();
    if sound && ["", "/"].contains(&path) {
        return Some(text);
    }
    vars.fault(
        &name,
        "is not http://host:port or http://user:password@host:port (with / ? # @ : % of the user and the password \
         percent-encoded); it is not used",
    );
    None
}
