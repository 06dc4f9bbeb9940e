//! The outbox: order, partial writes, bounds, and the balance of the counters.

use super::*;

fn item(seq: u64, len: usize) -> ItemFrame {
    ItemFrame { bytes: vec![u8::try_from(seq % 251).unwrap(); len], seq, items: 1 }
}

fn write_next(outbox: &mut Outbox, bytes_max: usize) -> Option<Vec<u8>> {
    let Next::Write(bytes) = outbox.next(|_| true) else { return None };
    let piece = bytes[..bytes.len().min(bytes_max)].to_vec();
    let _whole = outbox.wrote(piece.len());
    Some(piece)
}

fn assert_balanced(outbox: &Outbox) {
    let counters = outbox.counters();
    let dropped: u64 = counters.reasons().map(|(_, count)| count).sum();
    assert_eq!(counters.ended, counters.written + outbox.buffered() + dropped);
}

#[test]
fn control_goes_first_but_never_into_a_torn_frame() {
    let mut outbox = Outbox::default();
    assert!(outbox.push_item(item(1, 10)) && outbox.push_item(item(2, 10)));
    assert_eq!(write_next(&mut outbox, 4).unwrap(), [1; 4]);
    assert!(outbox.push_control(vec![200; 3]));
    assert_eq!(write_next(&mut outbox, 99).unwrap(), [1; 6]);
    assert_eq!(write_next(&mut outbox, 2).unwrap(), [200; 2]);
    assert!(outbox.push_control(vec![201; 3]));
    assert_eq!(write_next(&mut outbox, 99).unwrap(), [200; 1]);
    assert_eq!(write_next(&mut outbox, 99).unwrap(), [201; 3]);
    assert_eq!(write_next(&mut outbox, 99).unwrap(), [2; 10]);
    assert_eq!(outbox.next(|_| true), Next::Empty);
    assert_eq!(outbox.counters().written, 2);
}

#[test]
fn an_item_without_credit_is_held_and_control_passes_it() {
    let mut outbox = Outbox::default();
    assert!(outbox.push_item(item(1, 10)));
    assert_eq!(outbox.next(|_| false), Next::Held);
    assert!(outbox.push_control(vec![200]));
    assert_eq!(outbox.next(|_| false), Next::Write(&[200]));
}

#[test]
fn the_bound_drops_the_newest_and_counts_it() {
    let mut outbox = Outbox::default();
    let quarter = BUFFER_BYTES_MAX / 4;
    let queued = (1..=10).filter(|seq| outbox.push_item(item(*seq, quarter))).count();
    assert_eq!((queued, outbox.buffered()), (4, 4));
    assert_eq!(outbox.counters().reasons().collect::<Vec<_>>(), [("buffer_full", 6)]);
    assert!(write_next(&mut outbox, usize::MAX).is_some());
    assert!(outbox.push_item(item(11, quarter)), "there is room again");
    assert_balanced(&outbox);
}

#[test]
fn the_largest_frame_may_wait_alone() {
    let mut outbox = Outbox::default();
    assert!(outbox.push_item(item(1, BUFFER_BYTES_MAX + 4)));
    assert!(!outbox.push_item(item(2, 1)));
    assert_balanced(&outbox);
}

#[test]
fn a_torn_item_is_written_again_whole_after_a_disconnect() {
    let mut outbox = Outbox::default();
    assert!(outbox.push_item(item(1, 10)) && outbox.push_control(vec![9]));
    assert!(write_next(&mut outbox, 1).is_some(), "the control frame");
    assert_eq!(write_next(&mut outbox, 7).unwrap().len(), 7);
    assert!(outbox.is_partial() && outbox.push_control(vec![9; 5]));
    outbox.disconnected();
    assert_eq!(outbox.next(|_| true), Next::Write(&[1; 10]));
    assert_balanced(&outbox);
}

#[test]
fn control_frames_have_their_own_bound() {
    let mut outbox = Outbox::default();
    assert!(outbox.push_control(vec![0; CONTROL_BYTES_MAX]));
    assert!(!outbox.push_control(vec![0; 1]));
    assert!(outbox.push_item(item(1, 1)));
    assert!(write_next(&mut outbox, usize::MAX).is_some());
    assert!(outbox.push_control(vec![0; 1]));
}

#[test]
fn what_is_given_up_is_counted() {
    let mut outbox = Outbox::default();
    outbox.refuse(DropReason::TooLarge, 1);
    assert!(outbox.push_item(item(1, 10)) && outbox.push_item(item(2, 10)));
    outbox.give_up(DropReason::VersionRefused);
    assert_eq!(outbox.counters().reasons().collect::<Vec<_>>(), [("too_large", 1), ("version_refused", 2)]);
    assert_eq!(outbox.next(|_| true), Next::Empty);
    assert_balanced(&outbox);
}

/// Any order of operations keeps the balance and the byte stream whole.
#[test]
fn random_schedules_lose_and_mix_nothing() {
    for seed in 0..200 {
        let mut random = Lcg(seed);
        let mut outbox = Outbox::default();
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for seq in 1..=60 {
            match random.below(4) {
                0 => {
                    let control = vec![255; 1 + random.below(9)];
                    assert!(outbox.push_control(control));
                }
                1 | 2 => {
                    let frame = item(seq, 1 + random.below(30));
                    expected.extend_from_slice(&frame.bytes);
                    assert!(outbox.push_item(frame));
                }
                _ => sent.extend(write_next(&mut outbox, 1 + random.below(12)).unwrap_or_default()),
            }
            assert_balanced(&outbox);
        }
        while let Some(piece) = write_next(&mut outbox, 1 + random.below(12)) {
            sent.extend(piece);
        }
        sent.retain(|byte| *byte != 255);
        assert_eq!(sent, expected, "seed {seed}");
    }
}

struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}
