//! The buffer in which a thread encodes what ends: used again and again, so that a span takes no allocation.

use std::cell::Cell;

/// What a thread keeps. An item that took more gives its buffer back.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// A first item's buffer: most never grow.
const BYTES_TYPICAL: usize = 1 << 10;

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Gives what `encode` appends to an empty buffer to `take`.
///
/// Either may come back here, for they may run the user's code, and a thread that ends may have lost its buffer
/// already: then there is a new one.
pub(crate) fn encoded(encode: impl FnOnce(&mut Vec<u8>), take: impl FnOnce(&[u8])) {
    let mut buffer = KEPT.try_with(Cell::take).unwrap_or_default();
    if buffer.capacity() == 0 {
        buffer.reserve(BYTES_TYPICAL);
    }
    encode(&mut buffer);
    take(&buffer);
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
        encoded(|out| out.extend([1; 2_000]), |bytes| assert_eq!(bytes, [1; 2_000]));
        let bytes = kept();
        assert!(bytes >= 2_000);
        encoded(|out| out.push(2), |bytes| assert_eq!(bytes, [2]));
        assert_eq!(kept(), bytes);
        encoded(|out| out.resize(KEPT_BYTES_MAX + 1, 3), |bytes| assert_eq!(bytes.len(), KEPT_BYTES_MAX + 1));
        assert_eq!(kept(), 0);
    }

    #[test]
    fn what_is_encoded_meanwhile_is_apart() {
        let inner = || encoded(|out| out.push(2), |bytes| assert_eq!(bytes, [2]));
        let encode = |out: &mut Vec<u8>| {
            out.push(1);
            inner();
            out.push(3);
        };
        encoded(encode, |bytes| {
            inner();
            assert_eq!(bytes, [1, 3]);
        });
    }

    #[test]
    fn a_thread_that_ends_still_encodes() {
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                encoded(|out| out.push(4), |bytes| assert_eq!(bytes, [4]));
            }
        }
        thread_local!(static LATE: Late = const { Late });
        let ended = std::thread::spawn(|| {
            // Destroyed after the buffer, or before it: both orders.
            LATE.with(|_| ());
            encoded(|out| out.push(5), |bytes| assert_eq!(bytes, [5]));
        });
        ended.join().unwrap();
        let ended = std::thread::spawn(|| {
            encoded(|out| out.push(5), |bytes| assert_eq!(bytes, [5]));
            LATE.with(|_| ());
        });
        ended.join().unwrap();
    }
}
