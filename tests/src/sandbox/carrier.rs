//! Which carrier the library in a function uses for its hand-off: a whole run of tests may ask for one.

type Variables = Vec<(String, String)>;

/// Set for a test run: the carrier of every function that is not told one by its own test.
pub const TEST_CARRIER_ENV: &str = "LAMBDA_FLUSH_TEST_CARRIER";
/// What the library reads.
pub(crate) const CARRIER_ENV: &str = "LAMBDA_FLUSH_CARRIER";

/// Gives the function the carrier that the run asks for, if nobody gave it another.
pub(crate) fn assign(wanted: Option<String>, env: &Variables, function_env: &mut Variables) {
    let given = env.iter().chain(&*function_env).any(|(name, _)| name == CARRIER_ENV);
    if let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty() && !given) {
        function_env.push((CARRIER_ENV.to_owned(), wanted));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(wanted: Option<&str>, env: &[&str], function_env: &[&str]) -> Variables {
        let pairs = |values: &[&str]| -> Variables {
            values.iter().map(|value| (CARRIER_ENV.to_owned(), (*value).to_owned())).collect()
        };
        let mut function_env = pairs(function_env);
        assign(wanted.map(str::to_owned), &pairs(env), &mut function_env);
        function_env
    }

    #[test]
    fn a_test_s_own_choice_goes_first() {
        let pair = |value: &str| (CARRIER_ENV.to_owned(), value.to_owned());
        assert_eq!(assigned(Some("socket"), &[], &[]), [pair("socket")]);
        assert_eq!(assigned(Some("socket"), &[], &["ring"]), [pair("ring")]);
        assert_eq!(assigned(Some("socket"), &["ring"], &[]), []);
        assert_eq!(assigned(None, &[], &[]), []);
        assert_eq!(assigned(Some(""), &[], &[]), []);
    }
}
