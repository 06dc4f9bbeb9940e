//! Credentials that a backend repeats in its words: taken out before anything is cut or printed.

/// A shorter value is no secret worth a hole in the backend's words.
const VALUE_BYTES_MIN: usize = 4;
/// The same for a part of a value.
const PART_BYTES_MIN: usize = 6;
const HIDDEN: &str = "[hidden]";

/// Header values in the forms in which they may come back.
#[derive(Default)]
pub struct Secrets(Vec<String>);

/// None is shown.
impl core::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Secrets").field(&self.0.len()).finish()
    }
}

impl Secrets {
    /// Of the values of all headers that are sent.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = Vec::new();
        for value in values.into_iter().map(str::trim) {
            add(&mut forms, value, VALUE_BYTES_MIN);
            let mut words = value.split_whitespace();
            // The first of several is a scheme, such as `Bearer`.
            let first = words.next().unwrap_or_default();
            let parts: Vec<&str> = if words.clone().next().is_none() { vec![first] } else { words.collect() };
            for part in parts {
                add(&mut forms, part, PART_BYTES_MIN);
                let decoded = decoded(part);
                add(&mut forms, &decoded, PART_BYTES_MIN);
                // `Basic`: the user, which is often the key, and the password.
                for half in decoded.split(':') {
                    add(&mut forms, half, PART_BYTES_MIN);
                }
            }
        }
        // The longest first: a shorter one may be part of it.
        forms.sort_by_key(|form| core::cmp::Reverse(form.len()));
        forms.dedup();
        Self(forms)
    }

    /// The text without them; nor with the beginning of one where the text was cut.
    #[must_use]
    pub fn hidden(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            if text.contains(secret.as_str()) {
                text = text.replace(secret.as_str(), HIDDEN);
            }
        }
        for secret in &self.0 {
            let cut = (PART_BYTES_MIN..secret.len())
                .rev()
                .find(|end| secret.get(..*end).is_some_and(|beginning| text.ends_with(beginning)));
            if let Some(cut) = cut {
                text.truncate(text.len() - cut);
                text.push_str(HIDDEN);
            }
        }
        text
    }
}

fn add(forms: &mut Vec<String>, text: &str, bytes_min: usize) {
    if text.len() < bytes_min {
        return;
    }
    forms.push(text.to_owned());
    let encoded = encoded(text.as_bytes());
    forms.push(encoded.trim_end_matches('=').to_owned());
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, 4.
fn encoded(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..=group.len() {
            let index = bits >> (18 - 6 * place) & 63;
            let letter = usize::try_from(index).ok().and_then(|index| ALPHABET.get(index));
            out.push(char::from(letter.copied().unwrap_or(b'=')));
        }
    }
    out
}

/// Empty if it is no base64, or not of a text.
fn decoded(text: &str) -> String {
    let (mut out, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let plain = match byte {
            b'-' => b'+',
            b'_' => b'/',
            other => other,
        };
        let Some(value) = ALPHABET.iter().position(|letter| *letter == plain) else { return String::new() };
        bits = bits << 6 | u32::try_from(value).unwrap_or_default();
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        for (plain, text) in [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!((encoded(plain.as_bytes()).as_str(), decoded(text).as_str()), (text, plain));
        }
        assert_eq!(decoded("Zg=="), "f");
        assert_eq!((decoded("no base64"), decoded("/////w")), (String::new(), String::new()));
    }

    #[test]
    fn every_form_of_a_credential_is_hidden() {
        let secrets = Secrets::of(["Bearer tops3cret-key", "Basic dXNlcjEyMzpwYXNzd29yZA==", "k3y!", "abc"]);
        for said in [
            "Bearer tops3cret-key",
            "tops3cret-key",
            "dG9wczNjcmV0LWtleQ==",
            "dXNlcjEyMzpwYXNzd29yZA",
            "user123:password",
            "password",
            "user123",
            "k3y!",
        ] {
            let hidden = secrets.hidden(&format!("the key '{said}' is unknown, abc"));
            assert!(!hidden.contains(said) && hidden.contains("[hidden]"), "{said}: {hidden}");
            assert!(hidden.starts_with("the key '") && hidden.ends_with("' is unknown, abc"), "{hidden}");
        }
        assert_eq!(secrets.hidden("no Bearer token"), "no Bearer token");
        assert_eq!(Secrets::default().hidden("as it is"), "as it is");
        assert!(!format!("{secrets:?}").contains("s3cret"));
    }

    #[test]
    fn the_beginning_of_one_at_the_end_of_a_cut_text_is_hidden_too() {
        let secrets = Secrets::of(["0123456789abcdef"]);
        assert_eq!(secrets.hidden("unknown: 0123456789ab"), "unknown: [hidden]");
        assert_eq!(secrets.hidden("unknown: 0123"), "unknown: 0123");
    }
}
