//! Export headers. They carry credentials, so their values are never shown.

use std::fmt;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// Header names and values, in the order given.
#[derive(Clone, Default)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Parses `key=value,key=value` with percent-encoded values
    /// (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables>).
    /// Returns what could be read and, for each entry that could not, its number and what is wrong with it.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        let mut headers = Vec::new();
        let mut faults = Vec::new();
        for (number, entry) in
            text.split(',').map(str::trim).enumerate().filter(|(_, entry)| !entry.is_empty())
        {
            match parse_entry(entry) {
                Ok(header) => headers.push(header),
                Err(fault) => faults.push(format!("entry {}: {fault}", number + 1)),
            }
        }
        (Self(headers), faults)
    }

    /// The headers.
    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

fn parse_entry(entry: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let (name, value) = entry.split_once('=').ok_or("expected key=value")?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| "the key is not a header name")?;
    let value = percent_decode_str(value.trim()).decode_utf8().map_err(|_| "the value is not UTF-8")?;
    let mut value =
        HeaderValue::from_str(&value).map_err(|_| "the value has characters no header may have")?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn values_are_decoded_and_never_shown() {
        let (headers, faults) = Headers::parse("authorization=Bearer%20s3cret, x-team = blue,broken,a b=c,");
        let shown: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}:{}", value.to_str().unwrap())).collect();
        assert_eq!(shown, ["authorization:Bearer s3cret", "x-team:blue"]);
        assert_eq!(faults, ["entry 3: expected key=value", "entry 4: the key is not a header name"]);
        assert!(!format!("{headers:?}").contains("s3cret"));
    }
}
