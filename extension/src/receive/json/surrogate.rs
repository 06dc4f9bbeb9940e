//! Escaped halves of a UTF-16 pair without the other half: JavaScript's strings have them, UTF-8 can't.

/// How long `\uD800` is.
const ESCAPE_BYTES: usize = 6;

/// Makes replacement characters of them, in place, as decoders in other languages do. One cut-off emoji is no reason
/// to lose a request.
pub(super) fn replaced(json: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        match unit(json, at) {
            Some(0xD800..0xDC00) if matches!(unit(json, at + ESCAPE_BYTES), Some(0xDC00..0xE000)) => {
                at += 2 * ESCAPE_BYTES;
            }
            Some(0xD800..0xE000) => {
                if let Some(escape) = json.get_mut(at..at + ESCAPE_BYTES) {
                    escape.copy_from_slice(br"\uFFFD");
                }
                at += ESCAPE_BYTES;
            }
            // Of any other escape, the escaped backslash among them, the second byte is no beginning of one.
            _ => at += 2,
        }
    }
}

/// The UTF-16 unit that is escaped there.
fn unit(json: &[u8], at: usize) -> Option<u32> {
    let digits = json.get(at..at.checked_add(ESCAPE_BYTES)?)?.strip_prefix(br"\u")?;
    let digit = |value: u32, byte: &u8| Some(value << 4 | char::from(*byte).to_digit(16)?);
    digits.iter().try_fold(0, digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_halves_are_replaced_and_nothing_else() {
        for (json, expected) in [
            (r#""a\ud83d""#, r#""a\uFFFD""#),
            (r#""\uDE80a""#, r#""\uFFFDa""#),
            (r#""\ud83d\ud83d\uDe80""#, r#""\uFFFD\ud83d\uDe80""#),
            (r#""\ud83dx\uDe80""#, r#""\uFFFDx\uFFFD""#),
            (r#""\ud83d\n""#, r#""\uFFFD\n""#),
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83d""#, r#""\\\uFFFD""#),
            (r#""\u00e4\ud83d\uDe80\uFFFF""#, r#""\u00e4\ud83d\uDe80\uFFFF""#),
            (r#""\ud83"#, r#""\ud83"#),
            (r"\", r"\"),
            ("", ""),
        ] {
            let mut bytes = json.as_bytes().to_vec();
            replaced(&mut bytes);
            assert_eq!(std::str::from_utf8(&bytes).unwrap(), expected, "{json}");
        }
    }
}
