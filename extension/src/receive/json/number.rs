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

/// Rust's parser knows more spellings of infinity than JSON does.
fn decimal(text: &str) -> Option<f64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| digits && number.is_finite())
}

#[expect(clippy::cast_possible_truncation, reason = "the bound is checked, the fraction is zero")]
fn whole(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() < 2.0_f64.powi(64)).then_some(number as i128)
}
