//! Finds the extension's JSON objects in whatever else was printed.

use serde_json::{Deserializer, Value};

const MARK: &str = "\"lambda_flush\"";

/// The objects in a line, in order; `Err` for one that is cut off or broken.
pub(crate) fn objects(line: &str) -> Vec<Result<Value, String>> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(MARK).and_then(|mark| rest.get(..mark)?.rfind('{')) {
        let object = rest.get(start..).unwrap_or_default();
        let mut values = Deserializer::from_str(object).into_iter::<Value>();
        let next = match values.next() {
            Some(Ok(value)) => {
                found.push(Ok(value));
                object.get(values.byte_offset()..)
            }
            Some(Err(error)) => {
                found.push(Err(format!("a line of the extension is broken: {error}")));
                object.find(MARK).and_then(|mark| object.get(mark + MARK.len()..))
            }
            None => None,
        };
        rest = next.unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_between_other_text() {
        let line = r#"2026 INFO x{y} {"lambda_flush":"a"} middle {"lambda_flush":"b","n":{"x":1}} end"#;
        let found: Vec<_> = objects(line).into_iter().map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1]["n"]["x"], 1);
    }

    #[test]
    fn a_cut_object_is_reported_and_costs_only_itself() {
        let found = objects(r#"{"lambda_flush":"dead_letter","da {"lambda_flush":"summary"}"#);
        assert_eq!(found.len(), 2);
        assert!(found[0].is_err());
        assert_eq!(found[1].as_ref().unwrap()["lambda_flush"], "summary");
        assert!(objects(r#"{"lambda_flush":"summ"#)[0].is_err());
    }

    #[test]
    fn other_lines_are_nothing() {
        assert!(objects("").is_empty());
        assert!(objects(r#"{"level":"info","lambda":"flush"}"#).is_empty());
        assert!(objects(r#"the word "lambda_flush" alone"#).is_empty());
    }
}
