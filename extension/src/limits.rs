//! Every limit of the extension, with its unit in its name.

use std::time::Duration;

/// Default of `LAMBDA_FLUSH_BUFFER_BYTES_MAX`: this, or a sixteenth of the function's memory if that is less.
pub const BUFFER_BYTES_DEFAULT: u64 = 16 << 20;
/// The least that `LAMBDA_FLUSH_BUFFER_BYTES_MAX` may be: one link's credit window has to fit twice.
pub const BUFFER_BYTES_MIN: u64 = 4 << 20;
/// A link's credit window is never less: the largest frame has to fit into half of it.
pub const LINK_CREDIT_BYTES_MIN: u64 = 2 * (lambda_flush_proto::limits::FRAME_BYTES_MAX as u64 + 4);
/// Grants smaller than this wait until they are worth a frame.
pub const GRANT_BYTES_MIN: u64 = 16 << 10;
/// Hand-off links at a time; a further one is closed at once.
pub const LINKS_MAX: usize = 16;
/// Function processes remembered for the summary.
pub const PROCESSES_MAX: usize = 64;
/// Bytes of replies that may wait for a function that does not read; then its link is closed.
pub const REPLY_BYTES_MAX: usize = 64 << 10;
/// One read from a hand-off link.
pub const LINK_READ_BYTES: usize = 64 << 10;

/// An open batch of this size is closed.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// So many small batches that are waiting are put together.
pub const MERGE_BATCHES_MIN: usize = 8;
/// A batch with so many resources and scopes is closed, whatever its size.
pub const BATCH_GROUPS_MAX: usize = 256;
/// Export requests at a time.
pub const EXPORTS_IN_FLIGHT_MAX: usize = 4;
/// What is read of a backend's answer.
pub const RESPONSE_BYTES_MAX: usize = 64 << 10;
/// What is kept of a backend's message.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// Invocations whose end came before their INVOKE.
pub const FINISHED_INVOCATIONS_MAX: usize = 16;
/// How long a live link may take to announce an invocation (never more than the billed cap).
pub const INVOCATION_STARTED_WAIT: Duration = Duration::from_millis(100);
/// `/next` is called this long before the invocation's deadline, whatever is still unfinished.
pub const INVOCATION_MARGIN: Duration = Duration::from_millis(100);
/// A return from `/next` after more wall time than this is a thaw.
pub const THAW_AFTER: Duration = Duration::from_secs(2);

/// The first retry's backoff before jitter; it doubles.
pub const RETRY_BACKOFF_MIN: Duration = Duration::from_millis(50);
/// No backoff is longer, but for a server's Retry-After.
pub const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(5);
/// No Retry-After is honoured beyond this: the environment does not live that long.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);
/// After an export was cut by the billed cap, the next one after a response waits this long; it doubles.
pub const CUT_PAUSE_MIN: Duration = Duration::from_secs(60);
/// The longest such pause.
pub const CUT_PAUSE_MAX: Duration = Duration::from_secs(900);

/// At SHUTDOWN a link that sent nothing for this long is drained.
pub const LINK_QUIET: Duration = Duration::from_millis(10);
/// At SHUTDOWN links are drained for at most this part of the time left, in percent.
pub const DRAIN_PERCENT_MAX: u32 = 15;
/// At SHUTDOWN what is unsettled after this part of the time, in percent, is prepared as dead letters.
pub const PREPARE_AFTER_PERCENT: u32 = 20;
/// The fixed part of what SHUTDOWN keeps back for dead letters, the summary and the exit.
pub const EXIT_RESERVE: Duration = Duration::from_millis(50);
/// The reserve never takes more of the time left, in percent: exports get their chance too.
pub const EXIT_RESERVE_PERCENT_MAX: u32 = 60;
/// Compressing, encoding and printing dead letters on a whole core, before it was measured (bytes a second).
pub const DEAD_LETTER_BYTES_PER_SECOND: u64 = 20 << 20;
/// Lambda gives a function one core per this many MB of memory
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
pub const MEMORY_MB_PER_CORE: u64 = 1_769;

/// One line of a dead letter: CloudWatch Logs takes events of at most 256 KB.
pub const DEAD_LETTER_LINE_BYTES_MAX: usize = 240_000;
