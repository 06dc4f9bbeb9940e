//! The buffer in which a thread encodes what ends: used again and again, so that a span takes no allocation.

use std::cell::Cell;

use lambda_flush_proto::limits::ITEM_OVERHEAD_BYTES_MAX;

/// What a thread keeps. An item that took more gives its buffer back.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A first item's buffer: most never grow.
const BYTES_TYPICAL: usize = 1 << 10;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An item in a buffer that has room before it for the head of its frame.
#[derive(Debug)]
pub(crate) struct Encoded<'a> {
    /// [`ITEM_OVERHEAD_BYTES_MAX`] bytes, then the item's.
    pub(crate) with_room: &'a mut [u8],
}

impl Encoded<'_> {
    /// The item's alone.
    #[cfg(any(test, feature = "direct"))]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.with_room.get(ITEM_OVERHEAD_BYTES_MAX..).unwrap_or_default()
    }
}

/// Gives what `encode` appends to a buffer to `take`.
///
/// Either may come back here, for they may run the user's code, and a thread that ends may have lost its buffer
/// already: then there is a new one.
pub(crate) fn encoded(encode: impl FnOnce(&mut Vec<u8>), take: impl FnOnce(Encoded<'_>)) {
    let mut buffer = KEPT.try_with(Cell::take).unwrap_or_default();
    if buffer.capacity() == 0 {
        buffer.reserve(BYTES_TYPICAL);
    }
    buffer.resize(ITEM_OVERHEAD_BYTES_MAX, 0);
    encode(&mut buffer);
    take(Encoded { with_room: &mut buffer });
    if buffer.capacity() <= KEPT_BYTES_MAX {
        buffer.clear();
        // Where it can't be kept it is given back.
        KEPT.try_with(|kept| kept.set(buffer)).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        let buffer = KEPT.take();
        let bytes = buffer.capacity();
        KEPT.set(buffer);
        bytes
    }

    #[test]
    fn a_buffer_is_empty_again_and_kept_unless_it_is_large() {
        encoded(|out| out.extend([1; 2_000]), |item| assert_eq!(item.bytes(), [1; 2_000]));
        let bytes = kept();
        assert!(bytes >= 2_000);
        encoded(|out| out.push(2), |item| assert_eq!(item.bytes(), [2]));
        assert_eq!(kept(), bytes);
        let large = vec![3; KEPT_BYTES_MAX];
        encoded(|out| out.extend(&large), |item| assert_eq!(item.bytes(), large));
        assert_eq!(kept(), 0);
    }

    #[test]
    fn what_is_encoded_meanwhile_is_apart() {
        let inner = || encoded(|out| out.push(2), |item| assert_eq!(item.bytes(), [2]));
        let encode = |out: &mut Vec<u8>| {
            out.push(1);
            inner();
            out.push(3);
        };
        encoded(encode, |item| {
            inner();
            assert_eq!(item.bytes(), [1, 3]);
        });
    }

    #[test]
    fn a_thread_that_ends_still_encodes() {
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                encoded(|out| out.push(4), |item| assert_eq!(item.bytes(), [4]));
            }
        }
        thread_local!(static LATE: Late = const { Late });
        let ended = std::thread::spawn(|| {
            // Destroyed after the buffer, or before it: both orders.
            LATE.with(|_| ());
            encoded(|out| out.push(5), |item| assert_eq!(item.bytes(), [5]));
        });
        ended.join().unwrap();
        let ended = std::thread::spawn(|| {
            encoded(|out| out.push(5), |item| assert_eq!(item.bytes(), [5]));
            LATE.with(|_| ());
        });
        ended.join().unwrap();
    }
}
