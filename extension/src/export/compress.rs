//! Bodies on the wire: compressed in steps, with contexts that are used again.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};
use zstd::stream::raw::{Encoder, Operation};

use crate::config::Compression;
use crate::limits::{COMPRESS_BYTES_MIN, COMPRESS_STEP_BYTES};

/// The fastest: a network inside AWS is quicker than a better compressor.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;
/// 32 KiB, the most that gzip has.
const GZIP_WINDOW_BITS: u8 = 15;
/// Telemetry mostly shrinks to less than this part.
const OUTPUT_PART: usize = 5;

/// Contexts that nobody uses at the moment.
#[derive(Default)]
pub(super) struct Compressors {
    gzip: Mutex<Vec<Compress>>,
    zstd: Mutex<Vec<Encoder<'static>>>,
}

impl fmt::Debug for Compressors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressors").finish_non_exhaustive()
    }
}

impl Compressors {
    /// `prefix` bytes of zero and then the body, compressed; `None` if it is too small to be worth it.
    ///
    /// Other tasks get their turn after each step, and dropping the future ends it there.
    pub(super) async fn compress(
        &self,
        how: Compression,
        body: &Bytes,
        prefix: usize,
    ) -> io::Result<Option<Vec<u8>>> {
        if how == Compression::None || body.len() < COMPRESS_BYTES_MIN {
            return Ok(None);
        }
        let mut out = Vec::with_capacity(prefix + body.len() / OUTPUT_PART + COMPRESS_BYTES_MIN);
        out.resize(prefix, 0);
        match how {
            Compression::Zstd => self.zstd(body, &mut out).await?,
            _ => self.gzip(body, &mut out).await?,
        }
        Ok(Some(out))
    }

    async fn gzip(&self, body: &Bytes, out: &mut Vec<u8>) -> io::Result<()> {
        let parked = take(&self.gzip);
        let mut context = parked
            .unwrap_or_else(|| Compress::new_gzip(flate2::Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS));
        let mut steps = body.chunks(COMPRESS_STEP_BYTES).peekable();
        while let Some(mut step) = steps.next() {
            let last = steps.peek().is_none();
            let flush = if last { FlushCompress::Finish } else { FlushCompress::None };
            loop {
                room(out);
                let before = context.total_in();
                let status = context.compress_vec(step, out, flush).map_err(io::Error::other)?;
                let taken = usize::try_from(context.total_in() - before).unwrap_or(usize::MAX);
                step = step.get(taken..).unwrap_or_default();
                if status == Status::StreamEnd || (!last && step.is_empty()) {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
        context.reset();
        park(&self.gzip, context);
        Ok(())
    }

    async fn zstd(&self, body: &Bytes, out: &mut Vec<u8>) -> io::Result<()> {
        let mut context = match take(&self.zstd) {
            Some(context) => context,
            None => Encoder::new(ZSTD_LEVEL)?,
        };
        // Lets it use small tables for a small body.
        context.set_pledged_src_size(u64::try_from(body.len()).ok())?;
        for mut step in body.chunks(COMPRESS_STEP_BYTES) {
            while !step.is_empty() {
                let taken = into(out, |spare| {
                    let status = context.run_on_buffers(step, spare)?;
                    Ok((status.bytes_written, status.bytes_read))
                })?;
                step = step.get(taken..).unwrap_or_default();
            }
            tokio::task::yield_now().await;
        }
        while into(out, |spare| {
            let mut spare = zstd::stream::raw::OutBuffer::around(spare);
            let left = context.finish(&mut spare, true)?;
            Ok((spare.pos(), left))
        })? > 0
        {}
        context.reinit()?;
        park(&self.zstd, context);
        Ok(())
    }
}

fn take<T>(parked: &Mutex<Vec<T>>) -> Option<T> {
    parked.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

/// One is enough: a body is rarely half compressed while another begins.
fn park<T>(parked: &Mutex<Vec<T>>, context: T) {
    let mut parked = parked.lock().unwrap_or_else(PoisonError::into_inner);
    if parked.is_empty() {
        parked.push(context);
    }
}

fn room(out: &mut Vec<u8>) {
    if out.capacity() - out.len() < COMPRESS_BYTES_MIN {
        out.reserve(out.len().max(COMPRESS_BYTES_MIN));
    }
}

/// Lets `write` fill what is free in `out`; it says how much it wrote, and something else.
fn into(out: &mut Vec<u8>, write: impl FnOnce(&mut [u8]) -> io::Result<(usize, usize)>) -> io::Result<usize> {
    room(out);
    let (used, free) = (out.len(), out.capacity());
    out.resize(free, 0);
    let (written, other) = write(out.get_mut(used..).unwrap_or_default())?;
    out.truncate(used + written);
    Ok(other)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn bodies() -> Vec<Bytes> {
        let mut random = fastrand::Rng::with_seed(1);
        let mut noise =
            |len: usize| -> Bytes { std::iter::repeat_with(|| random.u8(..)).take(len).collect() };
        let text =
            |len: usize| -> Bytes { b"http.route=/orders/{id} ".iter().copied().cycle().take(len).collect() };
        let step = COMPRESS_STEP_BYTES;
        vec![text(COMPRESS_BYTES_MIN), text(step), text(step + 1), noise(3 * step), text(1 << 20), noise(201)]
    }

    #[tokio::test]
    async fn what_is_compressed_is_what_was_given_and_contexts_are_used_again() {
        let compressors = Compressors::default();
        for _ in 0..2 {
            for body in bodies() {
                for how in [Compression::Gzip, Compression::Zstd] {
                    let out = compressors.compress(how, &body, 5).await.unwrap().unwrap();
                    assert_eq!(out[..5], [0; 5]);
                    let mut plain = Vec::new();
                    match how {
                        Compression::Gzip => {
                            flate2::read::GzDecoder::new(&out[5..]).read_to_end(&mut plain).unwrap();
                        }
                        _ => plain = zstd::decode_all(&out[5..]).unwrap(),
                    }
                    assert!(plain == body, "{how:?} of {} bytes", body.len());
                }
            }
        }
        assert_eq!(compressors.gzip.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn small_bodies_and_none_are_left_alone() {
        let compressors = Compressors::default();
        let small = Bytes::from(vec![7; COMPRESS_BYTES_MIN - 1]);
        assert_eq!(compressors.compress(Compression::Gzip, &small, 0).await.unwrap(), None);
        let large = Bytes::from(vec![7; 1 << 16]);
        assert_eq!(compressors.compress(Compression::None, &large, 0).await.unwrap(), None);
    }
}
