//! The walk over export requests against a real decoder: what passes decodes, and counts the same.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "all of this file is a test")]

mod oracle;
mod requests;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;
use lambda_flush_proto::otlp::walk::{DEPTH_MAX, Fault, Malformed, count};
use lambda_flush_proto::{Signal, splice};
use prost::Message;

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];
const SEEDS: u64 = 400;
const MUTATIONS: usize = 60;

fn request(signal: Signal, rng: &mut Rng) -> Vec<u8> {
    match signal {
        Signal::Traces => requests::traces(rng).encode_to_vec(),
        Signal::Metrics => requests::metrics(rng).encode_to_vec(),
        _ => requests::logs(rng).encode_to_vec(),
    }
}

#[test]
fn what_a_real_encoder_writes_passes_and_counts_the_same() {
    let mut items = 0;
    for seed in 0..SEEDS {
        for signal in SIGNALS {
            let request = request(signal, &mut Rng::with_seed(seed));
            let expected = oracle::items(signal, &request).unwrap();
            assert_eq!(count(signal, &request), Ok(expected), "{signal:?}, seed {seed}");
            items += expected;
        }
    }
    assert!(items > SEEDS, "the requests hold {items} items in all: too few to test anything");
}

#[test]
fn what_passes_decodes_whatever_happened_to_it() {
    let (mut passed, mut refused, mut ids, mut stricter) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        for signal in SIGNALS {
            let mut rng = Rng::with_seed(seed);
            let whole = request(signal, &mut rng);
            for _ in 0..MUTATIONS {
                let mutant = mutated(&whole, &mut rng);
                match (count(signal, &mutant), oracle::items(signal, &mutant)) {
                    (Ok(items), decoded) => {
                        assert_eq!(Some(items), decoded, "{signal:?}, seed {seed}: {mutant:02x?}");
                        passed += 1;
                    }
                    (Err(_), None) => refused += 1,
                    // The oracle does not look at ids; the Collector does.
                    (Err(malformed), Some(_)) if malformed.fault == Fault::Id => ids += 1,
                    (Err(_), Some(_)) => stricter += 1,
                }
            }
        }
    }
    println!("{passed} passed, {refused} refused, {ids} for an id, {stricter} refused that decode");
    assert!(passed > 1_000 && refused > 1_000 && ids > 0, "{passed} {refused} {ids}: one side is not tested");
    assert_eq!(stricter, 0, "nothing is refused without need");
}

/// One to three changes that a broken encoder or a torn connection could make.
fn mutated(whole: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..rng.usize(1..=3) {
        let length = bytes.len();
        if length == 0 {
            bytes.push(rng.u8(..));
            continue;
        }
        let at = rng.usize(..length);
        match rng.u8(..7) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.u8(..)),
            4 => drop(bytes.remove(at)),
            5 => bytes[at] |= 0x80,
            _ => {
                let piece = bytes[at..length.min(at + rng.usize(1..40))].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes
}

fn fault(bytes: &[u8]) -> Fault {
    count(Signal::Traces, bytes).unwrap_err().fault
}

#[test]
fn each_fault_has_its_name() {
    assert_eq!(fault(&[0x0a, 5, 0x1a]), Fault::Truncated);
    assert_eq!(fault(&[0x0a]), Fault::Truncated);
    assert_eq!(fault(&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]), Fault::Varint);
    assert_eq!(fault(&[0x00, 0]), Fault::Key);
    assert_eq!(fault(&[0x08, 1]), Fault::Key, "the list of resources is not a varint");
    assert_eq!(fault(&[0x1e, 1]), Fault::Key, "wire type 6");
    assert_eq!(fault(&[0x0a, 3, 0x1a, 1, 0xff]), Fault::Utf8);
    assert_eq!(fault(&nested(&[1, 2, 2, 1], &[7; 8])), Fault::Id);
    assert_eq!(fault(&[0x13]), Fault::Group);
    assert_eq!(fault(&[0x13, 0x1c]), Fault::Group);
    let packed = count(Signal::Metrics, &nested(&[1, 2, 2, 9, 1, 6], &[0; 7])).unwrap_err();
    assert_eq!((packed.fault, packed.message), (Fault::Packed, "HistogramDataPoint"));
    assert_eq!(count(Signal::Unspecified, &[]).unwrap_err().fault, Fault::Signal);
    let shown = Malformed { at_byte: 3, message: "Span", fault: Fault::Utf8 }.to_string();
    assert_eq!(shown, "not a valid request: a string is not UTF-8 (byte 3, in Span)");
}

/// `inner` in fields of these numbers, the outermost first.
fn nested(numbers: &[u32], inner: &[u8]) -> Vec<u8> {
    numbers.iter().rev().fold(inner.to_vec(), |inner, number| {
        let mut outer = Vec::new();
        splice::field(*number, &inner, &mut outer);
        outer
    })
}

/// The Collector's `pdata` fails the whole request that such an id is in.
#[test]
fn ids_have_their_length_or_none() {
    for (signal, numbers, length) in [
        (Signal::Traces, &[1, 2, 2, 1][..], 16),
        (Signal::Traces, &[1, 2, 2, 2], 8),
        (Signal::Traces, &[1, 2, 2, 4], 8),
        (Signal::Traces, &[1, 2, 2, 13, 1], 16),
        (Signal::Traces, &[1, 2, 2, 13, 2], 8),
        (Signal::Logs, &[1, 2, 2, 9], 16),
        (Signal::Logs, &[1, 2, 2, 10], 8),
        (Signal::Metrics, &[1, 2, 2, 5, 1, 5, 4], 8),
        (Signal::Metrics, &[1, 2, 2, 5, 1, 5, 5], 16),
    ] {
        for bytes in 0..40 {
            let found = count(signal, &nested(numbers, &vec![7; bytes]));
            match bytes == 0 || bytes == length {
                true => assert_eq!(found, Ok(1), "{numbers:?}, {bytes} bytes"),
                false => assert_eq!(found.unwrap_err().fault, Fault::Id, "{numbers:?}, {bytes} bytes"),
            }
        }
    }
}

#[test]
fn unknown_fields_and_groups_pass() {
    // A varint, eight bytes, any bytes, a group with a group and a string in it, four bytes, a field number of 2^28.
    let unknown = [
        0x98, 0x06, 0x01, 0x99, 0x06, 1, 2, 3, 4, 5, 6, 7, 8, 0x9a, 0x06, 1, 0xff, 0xa3, 0x06, 0x2b, 0x08, 1,
        0x2c, 0x12, 1, 0xff, 0xa4, 0x06, 0x9d, 0x06, 1, 2, 3, 4, 0x82, 0x80, 0x80, 0x80, 0x08, 0,
    ];
    for numbers in [&[][..], &[1], &[1, 2], &[1, 2, 2], &[1, 2, 2, 9, 2]] {
        let request = nested(numbers, &unknown);
        assert_eq!(
            count(Signal::Traces, &request).ok(),
            oracle::items(Signal::Traces, &request),
            "{numbers:?}"
        );
        assert!(count(Signal::Traces, &request).is_ok(), "{numbers:?}");
    }
}

#[test]
fn the_last_kind_of_data_of_a_metric_counts() {
    let point = nested(&[1], &[]);
    let points = |number: u32, points: usize| nested(&[number], &point.repeat(points));
    for data in [
        [points(5, 3), points(7, 2)].concat(),
        [points(5, 3), points(5, 2)].concat(),
        [points(5, 3), points(9, 0)].concat(),
        [points(5, 3), points(9, 1), points(5, 2)].concat(),
    ] {
        let request = nested(&[1, 2, 2], &data);
        assert_eq!(
            count(Signal::Metrics, &request).ok(),
            oracle::items(Signal::Metrics, &request),
            "{data:?}"
        );
    }
}

#[test]
fn deep_nesting_is_refused_before_any_decoder_gives_up() {
    let arrays = |levels: u32| {
        let mut numbers = vec![1, 2, 2, 9, 2];
        for _ in 0..levels {
            numbers.extend([5, 1]);
        }
        nested(&numbers, &[])
    };
    let deepest = (DEPTH_MAX - 5) / 2;
    assert_eq!(count(Signal::Traces, &arrays(deepest)), Ok(1));
    assert_eq!(oracle::items(Signal::Traces, &arrays(deepest)), Some(1));
    assert_eq!(fault(&arrays(deepest + 1)), Fault::Depth);
    let groups = |levels: usize| [vec![0x1b; levels], vec![0x1c; levels]].concat();
    assert_eq!(count(Signal::Traces, &groups(90)), Ok(0));
    assert_eq!(fault(&groups(91)), Fault::Depth);
    assert_eq!(fault(&groups(1 << 20)), Fault::Depth);
}

/// The fuzzer's inputs: the first byte chooses the signal.
#[test]
fn no_input_of_the_corpus_passes_and_fails_to_decode() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/walk");
    let mut passed = 0;
    let mut refused = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        println!("{}", entry.file_name().display());
        match lambda_flush_proto::fuzzing::walk(&fs::read(entry.path()).unwrap(), oracle::items) {
            true => passed += 1,
            false => refused += 1,
        }
    }
    assert!(passed >= 6 && refused >= 10, "{passed} {refused}: the corpus has lost its purpose");
}

/// Not a benchmark, a tripwire: going through a request is far cheaper than decoding it.
#[test]
fn walking_is_cheaper_than_decoding() {
    let mut rng = Rng::with_seed(1);
    let request: Vec<u8> = (0..40).flat_map(|_| request(Signal::Traces, &mut rng)).collect();
    let best = |mut run: Box<dyn FnMut() -> u64>| {
        let timed = |_| {
            let begun = Instant::now();
            assert!(run() > 0);
            begun.elapsed()
        };
        (0..20).map(timed).min().unwrap_or(Duration::MAX)
    };
    let bytes = request.len();
    let (walked, decoded) = (request.clone(), request);
    let walk = best(Box::new(move || count(Signal::Traces, &walked).unwrap()));
    let decode = best(Box::new(move || oracle::items(Signal::Traces, &decoded).unwrap()));
    println!("{bytes} bytes: walked in {walk:?}, decoded in {decode:?}");
    assert!(walk * 2 < decode, "walked in {walk:?}, decoded in {decode:?}");
}
