//! Numbers of JSON: as numbers or as strings, whole ones also as `1e3` or `5.0`
//! (<https://protobuf.dev/programming-guides/json/>).

/// A scalar of JSON.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
}

impl Scalar<'_> {
    /// As a whole number.
    pub(super) fn whole(self) -> Option<i128> {
        match self {
            Self::Bool(_) => None,
            Self::Signed(number) => Some(number.into()),
            Self::Unsigned(number) => Some(number.into()),
            Self::Float(number) => whole(number),
            Self::Text(text) => match text.parse::<i128>() {
                Ok(number) => Some(number),
                Err(_) => whole(decimal(text)?),
            },
        }
    }

    /// As a double.
    #[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
    pub(super) fn double(self) -> Option<f64> {
        match self {
            Self::Bool(_) => None,
            Self::Signed(number) => Some(number as f64),
            Self::Unsigned(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            Self::Text("NaN") => Some(f64::NAN),
            Self::Text("Infinity") => Some(f64::INFINITY),
            Self::Text("-Infinity") => Some(f64::NEG_INFINITY),
            Self::Text(text) => decimal(text),
        }
    }
}

/// By the parser of numbers that are no strings: Rust's own would bring its tables, and knows more spellings than JSON.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    serde_json::from_str(text).ok().filter(|_| digits)
}

#[expect(clippy::cast_possible_truncation, reason = "the bound is checked, the fraction is zero")]
fn whole(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() < 2.0_f64.powi(64)).then_some(number as i128)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_to_the_last_bit_and_only_as_json_spells_it() {
        for exact in [0.1, 5e-324, f64::MAX, -1.797_693_134_862_315e308, 9_007_199_254_740_993.0] {
            let read = Scalar::Text(&format!("{exact:e}")).double().map(f64::to_bits);
            assert_eq!(read, Some(exact.to_bits()), "{exact}");
        }
        assert_eq!(Scalar::Text("5e0").whole(), Some(5));
        for bad in ["", " 1", "1 ", "inf", "nan", "1e400", "1,5", "1.5x", "[1]"] {
            assert_eq!(Scalar::Text(bad).double(), None, "{bad:?}");
        }
    }
}
