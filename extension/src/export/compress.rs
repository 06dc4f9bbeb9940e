//! Bodies on the wire: compressed in steps, with contexts that are used again.

use std::fmt;
use std::io;

use bytes::Bytes;
use flate2::{Compress, FlushCompress, Status};
use tokio::sync::Mutex;
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{self, CCtx, CParameter, InBuffer, OutBuffer};

use crate::config::Compression;
use crate::limits::{COMPRESS_BYTES_MIN, COMPRESS_LARGE_BYTES, GZIP_STEP_BYTES, ZSTD_STEP_BYTES};

/// The fastest: a network inside AWS is quicker than a better compressor.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;
/// 32 KiB, the most that gzip has.
const GZIP_WINDOW_BITS: u8 = 15;
/// Telemetry mostly shrinks to less than this part.
const OUTPUT_PART: usize = 5;

/// One context of a kind, for one body after another: half a MiB each, and several bodies half compressed would drive
/// each other out of the caches. `None`: there was no body yet, or the last one was given up in the middle.
#[derive(Default)]
pub(super) struct Compressors {
    gzip: Mutex<Option<Compress>>,
    zstd: Mutex<Option<CCtx<'static>>>,
}

impl fmt::Debug for Compressors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressors").finish_non_exhaustive()
    }
}

impl Compressors {
    /// `prefix` bytes of zero and then the body, compressed; `None` if it is too small to be worth it, or does not
    /// shrink: then the output would be memory for nothing, in the middle of as many requests as there are at a time.
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
        match how {
            Compression::Zstd => self.zstd(body, prefix).await,
            _ => self.gzip(body, prefix).await,
        }
    }

    async fn gzip(&self, body: &Bytes, prefix: usize) -> io::Result<Option<Vec<u8>>> {
        let mut kept = self.gzip.lock().await;
        let mut context = kept
            .take()
            .unwrap_or_else(|| Compress::new_gzip(flate2::Compression::new(GZIP_LEVEL), GZIP_WINDOW_BITS));
        let mut out = Vec::with_capacity(prefix + body.len() / OUTPUT_PART + COMPRESS_BYTES_MIN);
        out.resize(prefix, 0);
        let most = prefix + worth(body.len());
        let mut steps = body.chunks(GZIP_STEP_BYTES).peekable();
        while let Some(mut step) = steps.next() {
            if out.len() > most {
                return Ok(None);
            }
            let last = steps.peek().is_none();
            let flush = if last { FlushCompress::Finish } else { FlushCompress::None };
            loop {
                room(&mut out);
                let before = context.total_in();
                let status = context.compress_vec(step, &mut out, flush).map_err(io::Error::other)?;
                let taken = usize::try_from(context.total_in() - before).unwrap_or(usize::MAX);
                step = step.get(taken..).unwrap_or_default();
                if status == Status::StreamEnd || (!last && step.is_empty()) {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
        context.reset();
        *kept = Some(context);
        Ok((out.len() <= most).then_some(out))
    }

    /// Most bodies are one step, with room for all that can come of it: zstd then reads the body and writes the
    /// output where they are, and copies neither.
    async fn zstd(&self, body: &Bytes, prefix: usize) -> io::Result<Option<Vec<u8>>> {
        let mut kept = self.zstd.lock().await;
        let mut context = match kept.take() {
            Some(context) => context,
            None => zstd_context()?,
        };
        // Lets it use small tables for a small body.
        context.set_pledged_src_size(u64::try_from(body.len()).ok()).map_err(zstd_failed)?;
        let mut out: Vec<u8> = vec![0; prefix];
        let most = prefix + worth(body.len());
        let mut steps = body.chunks(ZSTD_STEP_BYTES).peekable();
        while let Some(step) = steps.next() {
            if out.len() > most {
                return Ok(None);
            }
            let last = steps.peek().is_none();
            let how = if last { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_continue };
            let mut step = InBuffer::around(step);
            loop {
                let left = step.src.len() - step.pos();
                out.reserve_exact(zstd_safe::compress_bound(left));
                let used = out.len();
                let mut spare = OutBuffer::around_pos(&mut out, used);
                let unflushed = context.compress_stream2(&mut spare, &mut step, how).map_err(zstd_failed)?;
                let done = if last { unflushed == 0 } else { step.pos() == step.src.len() };
                if done {
                    break;
                }
            }
            tokio::task::yield_now().await;
        }
        *kept = Some(context);
        out.shrink_to_fit();
        Ok((out.len() <= most).then_some(out))
    }
}

fn zstd_context() -> io::Result<CCtx<'static>> {
    let mut context = CCtx::try_create().ok_or(io::ErrorKind::OutOfMemory)?;
    context.set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL)).map_err(zstd_failed)?;
    Ok(context)
}

fn zstd_failed(code: usize) -> io::Error {
    io::Error::other(zstd_safe::get_error_name(code))
}

/// What a body of so many bytes may become at most.
fn worth(bytes: usize) -> usize {
    if bytes > COMPRESS_LARGE_BYTES { bytes / 2 } else { bytes - bytes / 16 }
}

fn room(out: &mut Vec<u8>) {
    if out.capacity() - out.len() < COMPRESS_BYTES_MIN {
        // Not doubled: what grows so far does not shrink much, and is given up soon.
        out.reserve_exact((out.len() / 2).clamp(COMPRESS_BYTES_MIN, GZIP_STEP_BYTES));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::limits::{EXPORTS_IN_FLIGHT_MAX, REQUEST_BYTES_MAX_MAX};

    fn bodies() -> Vec<Bytes> {
        let mut random = fastrand::Rng::with_seed(1);
        let mut noise =
            |len: usize| -> Bytes { std::iter::repeat_with(|| random.u8(..)).take(len).collect() };
        let text =
            |len: usize| -> Bytes { b"http.route=/orders/{id} ".iter().copied().cycle().take(len).collect() };
        let step = GZIP_STEP_BYTES;
        vec![
            text(COMPRESS_BYTES_MIN),
            text(step),
            text(step + 1),
            noise(3 * step),
            text(1 << 20),
            noise(ZSTD_STEP_BYTES * 2 + 1),
            noise(201),
            text(ZSTD_STEP_BYTES + 1),
        ]
    }

    #[tokio::test]
    async fn what_is_compressed_is_what_was_given_and_contexts_are_used_again() {
        let compressors = Compressors::default();
        for _ in 0..2 {
            for body in bodies() {
                for how in [Compression::Gzip, Compression::Zstd] {
                    let noise = body[0] != b'h';
                    let Some(out) = compressors.compress(how, &body, 5).await.unwrap() else {
                        assert!(noise, "{how:?} of {} bytes", body.len());
                        continue;
                    };
                    assert!(!noise && out[..5] == [0; 5], "{how:?} of {} bytes", body.len());
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
        assert!(compressors.gzip.lock().await.is_some() && compressors.zstd.lock().await.is_some());
    }

    #[tokio::test]
    async fn a_body_given_up_in_the_middle_leaves_nothing_behind() {
        let compressors = Compressors::default();
        let body = Bytes::from(vec![7; 3 * ZSTD_STEP_BYTES]);
        for how in [Compression::Gzip, Compression::Zstd] {
            compressors.compress(how, &body, 0).await.unwrap();
            tokio::select! {
                biased;
                _ = compressors.compress(how, &body, 0) => panic!("it did not give anybody a turn"),
                () = std::future::ready(()) => {}
            }
            let out = compressors.compress(how, &body, 0).await.unwrap().unwrap();
            let mut plain = Vec::new();
            match how {
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(&out[..]).read_to_end(&mut plain).unwrap();
                }
                _ => plain = zstd::decode_all(&out[..]).unwrap(),
            }
            assert!(plain == body);
        }
    }

    /// Four requests at a time must not add as much again to what is held: P5 leaves 12 MiB for everything.
    #[tokio::test]
    async fn what_hardly_shrinks_takes_no_memory_in_the_end_and_little_on_the_way() {
        let mut random = fastrand::Rng::with_seed(2);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(REQUEST_BYTES_MAX_MAX).collect();
        let with_noise = |of_ten: usize| -> Bytes {
            noise
                .iter()
                .enumerate()
                .map(|(at, byte)| if at / 100 % 10 < of_ten { *byte } else { b'a' })
                .collect()
        };
        let [most, more] = [with_noise(4), with_noise(7)];
        let compressors = Compressors::default();
        for how in [Compression::Gzip, Compression::Zstd] {
            let out =
                compressors.compress(how, &most, 5).await.unwrap().expect("it shrinks to less than half");
            assert!(
                out.capacity() <= REQUEST_BYTES_MAX_MAX / 2 + GZIP_STEP_BYTES,
                "{how:?}: {}",
                out.capacity()
            );
            assert!(EXPORTS_IN_FLIGHT_MAX * out.capacity() <= 9 << 20);
            for body in [&more, &Bytes::from(noise.clone())] {
                assert_eq!(compressors.compress(how, body, 5).await.unwrap(), None, "{how:?}");
            }
            let small = body_of_noise(&noise);
            assert_eq!(compressors.compress(how, &small, 5).await.unwrap(), None, "{how:?}");
        }
    }

    fn body_of_noise(noise: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&noise[..COMPRESS_LARGE_BYTES / 2])
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
