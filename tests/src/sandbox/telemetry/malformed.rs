//! What a listener must not stumble over: wrong bodies between good ones, wrong records between good ones.

use serde_json::{Value, json};

/// A body that is no list of records; another one each round.
pub(super) fn body(round: usize) -> Vec<u8> {
    let bodies: [&dyn Fn() -> Vec<u8>; 8] = [
        &|| b"the platform is not itself today".to_vec(),
        &|| br#"[{"time":"2026-01-01T00:00:00.000Z","type":"platform.st"#.to_vec(),
        &|| b"{}".to_vec(),
        &|| b"null".to_vec(),
        &Vec::new,
        &|| b"[\"\xff\xfe\xff\"]".to_vec(),
        &|| b"[".repeat(20_000),
        &|| vec![0; 4_096],
    ];
    bodies.get(round % bodies.len()).map_or_else(Vec::new, |body| body())
}

/// The good records with a wrong one before each of them and two after the last.
pub(super) fn between(good: Vec<Value>, round: usize) -> Vec<Value> {
    let mut all = Vec::new();
    for (index, record) in good.into_iter().enumerate() {
        all.push(wrong(round + index));
        all.push(record);
    }
    all.push(wrong(round + 1));
    all.push(wrong(round + 2));
    all
}

fn wrong(number: usize) -> Value {
    let records: [&dyn Fn() -> Value; 12] = [
        &|| json!(42),
        &|| json!({ "time": "yesterday", "type": "platform.quantumLeap", "record": { "requestId": "r" } }),
        &|| Value::Null,
        &|| json!({ "time": 7, "type": "platform.runtimeDone", "record": { "requestId": 17, "status": [] } }),
        &|| json!([[["nested"]]]),
        &|| json!({ "type": "platform.start" }),
        &|| json!({ "type": "platform.start", "record": "as text" }),
        &|| json!({ "type": 5, "record": {} }),
        &|| json!({}),
        &|| json!({ "type": "platform.runtimeDone", "record": null }),
        &|| json!({ "type": "platform.runtimeDone", "record": { "status": "success" } }),
        &|| json!({ "type": "function", "record": "x".repeat(8_192) }),
    ];
    records.get(number % records.len()).map_or(Value::Null, |record| record())
}
