//! Header lists of the exporter variables: `key=value,key=value` with percent-encoded values
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables>).
//!
//! Their values are credentials: nothing here puts one into a message.

/// One entry: a lower-case header name and its decoded value, both fit for HTTP.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// In lower case.
    pub name: String,
    /// A credential, mostly.
    pub value: String,
}

/// The value is not shown.
impl core::fmt::Debug for Header {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.name)
    }
}

/// What could be read of a comma-separated list and, for each entry that could not, its number and what is wrong.
#[must_use]
pub fn list(text: &str) -> (Vec<Header>, Vec<String>) {
    read(text.split(','), "entry")
}

/// As [`list`], also one entry in a line; empty lines and lines that begin with `#` are passed over.
#[must_use]
pub fn lines(text: &str) -> (Vec<Header>, Vec<String>) {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    read(lines.flat_map(|line| line.split(',')), "entry")
}

fn read<'a>(entries: impl Iterator<Item = &'a str>, what: &str) -> (Vec<Header>, Vec<String>) {
    let (mut headers, mut faults) = (Vec::new(), Vec::new());
    for (number, text) in (1..).zip(entries.map(str::trim)).filter(|(_, text)| !text.is_empty()) {
        match entry(text) {
            Ok(header) => headers.push(header),
            Err(fault) => faults.push(format!("{what} {number}: {fault}")),
        }
    }
    (headers, faults)
}

fn entry(text: &str) -> Result<Header, &'static str> {
    let (name, value) = text.split_once('=').ok_or("expected key=value")?;
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("the key is not a header name");
    }
    // A credential alone, whose base64 ends in `=`: its name would be shown.
    if value.trim().trim_matches('=').is_empty() {
        return Err("there is no value; expected key=value");
    }
    let value = String::from_utf8(percent_decoded(value.trim())).map_err(|_| "the value is not UTF-8")?;
    if value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
        return Err("the value has characters no header may have");
    }
    Ok(Header { name: name.to_ascii_lowercase(), value })
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A `%` without two hexadecimal digits stands for itself.
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let decoded = match (byte, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match decoded {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => out.push(byte),
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(headers: &[Header]) -> Vec<String> {
        headers.iter().map(|Header { name, value }| format!("{name}:{value}")).collect()
    }

    #[test]
    fn values_are_decoded_and_never_shown() {
        let (headers, faults) =
            list("Authorization=Bearer%20s3cret, x-team = blue,broken,a b=c,,p=100%,q=%zz%2,e=%C3%A9=x");
        assert_eq!(
            shown(&headers),
            ["authorization:Bearer s3cret", "x-team:blue", "p:100%", "q:%zz%2", "e:é=x"]
        );
        assert_eq!(faults, ["entry 3: expected key=value", "entry 4: the key is not a header name"]);
        assert!(!format!("{headers:?}").contains("s3cret"));
    }

    #[test]
    fn what_no_header_may_have_is_a_fault() {
        let (headers, faults) = list("a=%0d%0aevil: 1,b=%ff,=c,d=%7f,e=%00");
        assert_eq!((headers.len(), faults.len()), (0, 5), "{faults:?}");
    }

    #[test]
    fn a_credential_without_a_name_is_not_taken_for_one() {
        for text in ["czNjcmV0LWtleQ==", "czNjcmV0LWtleXM=", "czNjcmV0LWtleQ = "] {
            let (headers, faults) = list(&format!("a=b,{text}"));
            assert_eq!(shown(&headers), ["a:b"]);
            assert_eq!(faults, ["entry 2: there is no value; expected key=value"]);
        }
    }

    #[test]
    fn a_file_has_lines_or_a_list() {
        let (headers, faults) = lines("# rotated daily\nauthorization=Bearer%20a\r\n\n x-team=blue , x=y\n");
        assert_eq!(shown(&headers), ["authorization:Bearer a", "x-team:blue", "x:y"]);
        assert_eq!(faults, [] as [&str; 0]);
    }
}
