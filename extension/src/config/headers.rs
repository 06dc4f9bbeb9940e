//! Export headers. They carry credentials, so their values are never shown.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use lambda_flush_proto::otlp::headers::{self, Header};

/// What the exporter or the connection sets itself; a second value would break the request.
const OURS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
];

/// Header names and values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(HeaderMap);

impl Headers {
    /// Parses `key=value,key=value` with percent-encoded values. Returns what could be read and, for each entry that
    /// could not, its number and what is wrong with it.
    #[must_use]
    pub fn parse(text: &str) -> (Self, Vec<String>) {
        Self::of(headers::list(text))
    }

    /// As [`Headers::parse`], also one entry in a line.
    #[must_use]
    pub fn parse_lines(text: &str) -> (Self, Vec<String>) {
        Self::of(headers::lines(text))
    }

    fn of((listed, mut faults): (Vec<Header>, Vec<String>)) -> (Self, Vec<String>) {
        let mut map = HeaderMap::new();
        for Header { name, value } in &listed {
            let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            match header {
                Some((key, mut value)) if !OURS.contains(&key) => {
                    value.set_sensitive(true);
                    map.append(key, value);
                }
                Some(_) => faults.push(format!("{name} is set by the exporter itself")),
                None => faults.push(format!("{name} can't be a header")),
            }
        }
        (Self(map), faults)
    }

    /// The headers.
    pub fn iter(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.0.iter()
    }

    /// These, and instead of those of the same name the ones in `other`.
    #[must_use]
    pub fn overridden(&self, other: &Self) -> HeaderMap {
        let mut map = self.0.clone();
        for name in other.0.keys() {
            map.remove(name);
        }
        map.extend(other.0.clone());
        map
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn values_are_decoded_and_never_shown() {
        let (headers, faults) =
            Headers::parse("authorization=Bearer%20s3cret, x-team = blue,broken,Content-Length=7");
        let shown: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}:{}", value.to_str().unwrap())).collect();
        assert_eq!(shown, ["authorization:Bearer s3cret", "x-team:blue"]);
        assert_eq!(faults, ["entry 3: expected key=value", "content-length is set by the exporter itself"]);
        assert!(!format!("{headers:?}").contains("s3cret"));
    }

    #[test]
    fn those_of_the_file_come_before_those_of_the_variable() {
        let (variable, _) = Headers::parse("a=1,b=2");
        let (file, _) = Headers::parse_lines("b=3\nc=4\n");
        let all = variable.overridden(&file);
        assert_eq!(["a", "b", "c"].map(|name| all.get(name).unwrap()), ["1", "3", "4"]);
    }
}
