//! Deliveries and what could be made of them: the committed corpus, and seeded mutations of it.

use std::path::PathBuf;

use lambda_flush_extension::core::Platform;
use lambda_flush_extension::lambda::telemetry::records::{self, Schema};
use lambda_flush_extension::lambda::telemetry::splitter::Splitter;
use lambda_flush_extension::limits::{TELEMETRY_RECORD_BYTES_MAX, TELEMETRY_TEXT_BYTES_MAX};

/// Of each file of the corpus, for each schema.
const MUTATIONS: u32 = 2_000;

fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/telemetry/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
    };
    files.into_iter().map(read).collect()
}

/// The events in `body`, and what could not be read; in chunks of `size`.
fn events(body: &[u8], schema: Schema, size: usize) -> (Vec<Platform>, u64) {
    let (mut splitter, mut events, mut malformed) = (Splitter::default(), Vec::new(), 0);
    for chunk in body.chunks(size) {
        splitter.feed(chunk, |record| {
            assert!(!record.is_empty() && record.len() <= TELEMETRY_RECORD_BYTES_MAX);
            match records::read(record, schema) {
                Ok(event) => events.extend(event),
                Err(records::Malformed) => malformed += 1,
            }
        });
    }
    (events, malformed + splitter.finish())
}

fn kinds(events: &[Platform]) -> String {
    let letter = |event: &Platform| match event {
        Platform::Subscribed => '?',
        Platform::InvocationStarted { .. } => 's',
        Platform::InvocationDone { .. } => 'd',
    };
    events.iter().map(letter).collect()
}

#[test]
fn the_corpus_says_what_it_should() {
    let found: Vec<_> = corpus()
        .into_iter()
        .map(|(name, body)| {
            let ((on_demand, faults), (managed, _)) =
                (events(&body, Schema::OnDemand, 1 << 20), events(&body, Schema::Managed, 1 << 20));
            (name, kinds(&on_demand), kinds(&managed), faults)
        })
        .collect();
    let expected = [
        ("cut-off.json", "s", "s", 1),
        ("garbage.json", "", "", 1),
        ("init.json", "", "", 0),
        ("invocation.json", "sd", "sd", 0),
        ("managed.json", "sss", "ssdsd", 0),
        ("mixed.json", "sd", "s", 5),
        ("not-an-array.json", "", "", 1),
        ("timeout.json", "d", "d", 0),
        ("unknown.json", "sd", "s", 0),
    ];
    let expected = expected.map(|(name, on_demand, managed, faults)| {
        (name.to_owned(), on_demand.to_owned(), managed.to_owned(), faults)
    });
    assert_eq!(found, expected);
}

#[test]
fn mutations_never_panic_and_chunks_never_matter() {
    let mut random = fastrand::Rng::with_seed(4);
    let corpus = corpus();
    for (name, body) in &corpus {
        for schema in [Schema::OnDemand, Schema::Managed] {
            for _ in 0..MUTATIONS {
                let mutated = mutate(body, &corpus, &mut random);
                let whole = events(&mutated, schema, mutated.len().max(1));
                let size = random.usize(1..=64);
                assert_eq!(events(&mutated, schema, size), whole, "{name} in chunks of {size}: {mutated:?}");
                for event in &whole.0 {
                    assert!(is_bounded(event), "{event:?}");
                }
            }
        }
    }
}

fn is_bounded(event: &Platform) -> bool {
    let fits = |text: &str| text.len() <= TELEMETRY_TEXT_BYTES_MAX;
    match event {
        Platform::Subscribed => false,
        Platform::InvocationStarted { request_id } => fits(&request_id.0),
        Platform::InvocationDone { request_id, status, error_type, .. } => {
            fits(&request_id.0) && fits(status) && error_type.as_deref().is_none_or(fits)
        }
    }
}

fn mutate(body: &[u8], corpus: &[(String, Vec<u8>)], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut mutated = body.to_vec();
    for _ in 0..random.usize(1..=4) {
        let at = random.usize(0..=mutated.len());
        match random.u8(0..6) {
            0 => mutated.truncate(at),
            1 => mutated.insert(at, *random.choice(br#"[]{}",:\ 0tn"#).unwrap()),
            2 => mutated.insert(at, random.u8(..)),
            3 if at < mutated.len() => mutated[at] ^= 1 << random.u8(0..8),
            4 => {
                let other = &corpus[random.usize(0..corpus.len())].1;
                let from = random.usize(0..=other.len());
                mutated.splice(at..at, other[from..].iter().copied().take(200));
            }
            _ => {
                let to = random.usize(at..=mutated.len());
                mutated.drain(at..to);
            }
        }
    }
    mutated
}
