//! Every limit of the extension, with its unit in its name.

use std::time::Duration;

/// Default of `LAMBDA_FLUSH_BUFFER_BYTES_MAX`: this, or a sixteenth of the function's memory if that is less.
pub const BUFFER_BYTES_DEFAULT: u64 = 16 << 20;
/// The least that `LAMBDA_FLUSH_BUFFER_BYTES_MAX` may be: one link's credit window has to fit twice.
pub const BUFFER_BYTES_MIN: u64 = 4 << 20;
/// A link's credit window is never less: the largest frame has to fit into half of it.
pub const LINK_CREDIT_BYTES_MIN: u64 = 2 * (lambda_flush_proto::limits::FRAME_BYTES_MAX as u64 + 4);
/// With a smaller budget no link gets a ring: the memory is worth more to what is held.
pub const RING_BUDGET_BYTES_MIN: u64 = 8 << 20;
/// Grants smaller than this wait until they are worth a frame.
pub const GRANT_BYTES_MIN: u64 = 16 << 10;
/// Hand-off links at a time; a further one is closed at once.
pub const LINKS_MAX: usize = 16;
/// Function processes remembered for the summary.
pub const PROCESSES_MAX: usize = 64;
/// Bytes of replies that may wait for a function that does not read; then its link is closed.
pub const REPLY_BYTES_MAX: usize = 64 << 10;
/// One read from a hand-off link, or from its ring.
pub const LINK_READ_BYTES: usize = 64 << 10;
/// One read of what comes first on a link, up to its `Hello`.
pub const LINK_FIRST_READ_BYTES: usize = 4 << 10;

/// Default of `LAMBDA_FLUSH_OTLP_REQUEST_BYTES_MAX`: an open batch of this size is closed.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// An open batch that has passed this gets the memory of a whole one at once.
pub const BATCH_SMALL_BYTES: usize = 8 << 10;
/// What it gets beside [`BATCH_BYTES_MAX`]: for the item that closes it, and what stands around the items.
pub const BATCH_SLACK_BYTES: usize = 16 << 10;
/// So much is left free before the items for a resource and a scope; larger ones cost a copy of the batch.
pub const BATCH_HEAD_BYTES_MAX: usize = 4 << 10;
/// The least that it may be: smaller requests cost more than they carry.
pub const REQUEST_BYTES_MAX_MIN: usize = 16 << 10;
/// The most that it may be, and what most gRPC servers accept.
pub const REQUEST_BYTES_MAX_MAX: usize = 4 << 20;
/// So many small batches that are waiting are put together.
pub const MERGE_BATCHES_MIN: usize = 8;
/// A batch with so many resources and scopes is closed, whatever its size.
pub const BATCH_GROUPS_MAX: usize = 256;
/// Export requests at a time.
pub const EXPORTS_IN_FLIGHT_MAX: usize = 4;
/// What is read of a backend's answer.
pub const RESPONSE_BYTES_MAX: usize = 64 << 10;
/// What is kept of a platform's or backend's message.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Default of `LAMBDA_FLUSH_OTLP_IDLE_MS`.
pub const CONNECTION_IDLE_DEFAULT: Duration = Duration::from_secs(3);
/// Idle connections kept: as many as there are exports at a time, for each of three destinations.
pub const CONNECTIONS_IDLE_MAX: usize = 3 * EXPORTS_IN_FLIGHT_MAX;
/// After so long without a connection the next address of a backend is tried beside it (RFC 8305, 5).
pub const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// What a proxy may answer to CONNECT.
pub const PROXY_ANSWER_BYTES_MAX: usize = 8 << 10;
/// What is read of a PEM file.
pub const PEM_BYTES_MAX: u64 = 4 << 20;
/// What is read of the file behind `LAMBDA_FLUSH_OTLP_HEADERS_FROM`.
pub const HEADERS_FILE_BYTES_MAX: u64 = 64 << 10;
/// A shorter body is not compressed.
pub const COMPRESS_BYTES_MIN: usize = 200;
/// A body longer than this is compressed only if it shrinks to the half: it takes memory beside what is held.
pub const COMPRESS_LARGE_BYTES: usize = 1 << 20;
/// Compressing with gzip looks up after so much, so that nothing else waits long.
pub const GZIP_STEP_BYTES: usize = 64 << 10;
/// With zstd, which takes a fifth of the time; most requests are one step, and it copies nothing then.
pub const ZSTD_STEP_BYTES: usize = 1 << 20;

/// What a request at a door takes of the byte budget beside its bytes: so that many tiny ones can't pass it.
pub const DOOR_REQUEST_OVERHEAD_BYTES: u64 = 256;
/// The least time after which a refused request is asked to come back.
pub const DOOR_RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// What is added to it at most, by chance.
pub const DOOR_RETRY_AFTER_JITTER_MAX: Duration = Duration::from_secs(1);

/// Invocations that one link may have announced at a time, on managed instances; more are not followed.
pub const LINK_INVOCATIONS_MAX: usize = 256;
/// Sequence numbers that did not come, in ranges; the lowest are forgotten first, as if they had come.
pub const SEQUENCE_GAPS_MAX: usize = 32;
/// On managed instances nothing is gathered longer than this.
pub const SERVING_FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Reported durations of invocations that count as recent.
pub const PLATFORM_DURATIONS_MAX: usize = 8;
/// So many invocations in a row are held for a report by a source that never proved that it delivers any.
pub const PLATFORM_UNPROVEN_HOLDS_MAX: u32 = 3;
/// Invocations whose end came before their INVOKE, or has not come yet.
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

/// Successful round trips that count as recent.
pub const ROUND_TRIPS_MAX: usize = 8;
/// What a round trip is taken for before there was one.
pub const ROUND_TRIP_GUESS: Duration = Duration::from_millis(50);
/// When memory is short, a handler that has run so long is overlapped by anything.
pub const PRESSED_OVERLAP_AFTER: Duration = Duration::from_millis(5);
/// A request that fails so shortly before the billed cap was cut by it.
pub const CUT_SLACK: Duration = Duration::from_millis(5);

/// At SHUTDOWN a link or a door at which nothing came for this long is drained.
pub const LINK_QUIET: Duration = Duration::from_millis(10);
/// At SHUTDOWN links are drained for at most this part of the time left, in percent.
pub const DRAIN_PERCENT_MAX: u32 = 15;
/// At SHUTDOWN what is unsettled after this part of the time, in percent, is prepared as dead letters.
pub const PREPARE_AFTER_PERCENT: u32 = 20;
/// The fixed part of what SHUTDOWN keeps back for dead letters, the summary and the exit.
pub const EXIT_RESERVE: Duration = Duration::from_millis(100);
/// The reserve never takes more of the time left, in percent: exports get their chance too.
pub const EXIT_RESERVE_PERCENT_MAX: u32 = 60;
/// Compressing, encoding and printing dead letters on a whole core, before it was measured (bytes a second).
pub const DEAD_LETTER_BYTES_PER_SECOND: u64 = 20 << 20;
/// Printing finished dead-letter lines is this much faster than making them.
pub const PRINTING_SPEEDUP: u64 = 8;
/// Smaller batches measure the clock rather than the work.
pub const MEASURED_BYTES_MIN: u64 = 16 << 10;
/// Lambda gives a function one core per this many MB of memory
/// (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>).
pub const MEMORY_MB_PER_CORE: u64 = 1_769;

/// Threads for large bodies at the doors (one at a time), and for files.
pub const BLOCKING_THREADS_MAX: usize = 4;
/// Without a timer of the core the driver still looks up now and then: the wall clock may have stepped.
pub const LOOK_UP: Duration = Duration::from_secs(1);
/// How long the summary may take to be printed; an eighth of the time left is for the exit. Only a stalled pipe takes
/// so long, but the writer is a thread: with a small part of a core it may have to wait for its turn as long as that.
pub const SUMMARY_WAIT: Duration = Duration::from_secs(1);
/// Broken links and useless offers of memory that get a line; more would only fill the log.
pub const LINK_FAULTS_TOLD_MAX: u32 = 5;

/// One line of a dead letter: CloudWatch Logs takes events of at most 256 KB.
pub const DEAD_LETTER_LINE_BYTES_MAX: usize = 240_000;

/// What is assumed of a SHUTDOWN without a deadline (`cargo lambda watch` sends 0).
pub const SHUTDOWN_DEADLINE_UNKNOWN: Duration = Duration::from_millis(500);
/// What is assumed of an INVOKE without a deadline: the longest timeout there is.
pub const INVOKE_DEADLINE_UNKNOWN: Duration = Duration::from_secs(900);
/// Until what is bound is served though the platform has not let us in.
pub const REGISTER_WAIT: Duration = Duration::from_millis(250);
/// Before registering again; it doubles.
pub const REGISTER_BACKOFF_MIN: Duration = Duration::from_millis(20);
/// No such pause is longer.
pub const REGISTER_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// Before asking for an event again, in our own loop; it doubles.
pub const NEXT_BACKOFF_MIN: Duration = Duration::from_millis(10);
/// No such pause is longer.
pub const NEXT_BACKOFF_MAX: Duration = Duration::from_secs(1);
/// After a connection that could not be accepted: out of file descriptors, most likely.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Records in one delivery of the Telemetry API; the least that can be asked for, as of the next two
/// (<https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html>).
pub const TELEMETRY_BATCH_ITEMS_MAX: u32 = 1_000;
/// Bytes the platform buffers for a delivery, which can have twice as many and some more.
pub const TELEMETRY_BATCH_BYTES_MAX: u32 = 262_144;
/// How long the platform buffers.
pub const TELEMETRY_BATCH_WAIT: Duration = Duration::from_millis(25);
/// Until the connection to the platform stands; `/next` is held back so long.
pub const SUBSCRIPTION_CONNECT_WAIT: Duration = Duration::from_millis(100);
/// Until the platform has answered the subscription; nothing is held back.
pub const SUBSCRIPTION_ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Connections to the telemetry listener that are served at a time.
pub const TELEMETRY_CONNECTIONS_MAX: usize = 32;
/// One such connection, from accepting to the answer.
pub const TELEMETRY_CONNECTION_MAX: Duration = Duration::from_secs(2);
/// What is read of one delivery: several times what a real one has.
pub const TELEMETRY_BODY_BYTES_MAX: usize = 4 << 20;
/// What is held of it before it is looked at.
pub const TELEMETRY_READ_BYTES: usize = 16 << 10;
/// A longer record is passed over: those that count have about one KiB.
pub const TELEMETRY_RECORD_BYTES_MAX: usize = 16 << 10;
/// A request id, a status, an error type.
pub const TELEMETRY_TEXT_BYTES_MAX: usize = 256;
/// How long a delivery waits for room in the driver's queue.
pub const TELEMETRY_QUEUE_WAIT: Duration = Duration::from_millis(100);

/// `--check`: one step before the export itself (a name, a connection, a handshake).
pub const CHECK_STEP_MAX: Duration = Duration::from_secs(5);
/// `--check`: a backend that misses a client certificate says so after the handshake (TLS 1.3), if at once.
pub const CHECK_AFTERTHOUGHT_WAIT: Duration = Duration::from_millis(300);

/// One OTLP request at a door: on the wire, expanded, and as protobuf.
pub const DOOR_BODY_BYTES_MAX: usize = 4 << 20;
/// All requests at the doors together, until the core has answered them.
pub const DOOR_BODIES_BYTES_MAX: usize = 5 << 20;
/// What a request at a door takes beside its body.
pub const DOOR_REQUEST_BYTES: usize = 4 << 10;
/// What undoing gzip takes beside what comes out of it.
pub const DOOR_GZIP_BYTES: usize = 64 << 10;
/// The first piece of memory for a body whose length was announced: announcing costs nothing.
pub const DOOR_ANNOUNCED_BYTES_MAX: usize = 64 << 10;
/// Connections at the doors; for a further one the longest idle one is closed.
pub const DOOR_CONNECTIONS_MAX: usize = 32;
/// Requests at a time on one HTTP/2 connection.
pub const DOOR_STREAMS_MAX: u32 = 16;
/// HTTP/2 flow control: what a connection may send ahead of us.
pub const DOOR_WINDOW_BYTES: u32 = 64 << 10;
/// What is read from an HTTP/1.1 connection at a time, its request's head included.
pub const DOOR_READ_BYTES: usize = 32 << 10;
/// The headers of one HTTP/2 request.
pub const DOOR_HEADERS_BYTES_MAX: u32 = 16 << 10;
/// How long a request's body may take to arrive.
pub const DOOR_BODY_WAIT: Duration = Duration::from_secs(10);
/// How long the core may take to answer a request.
pub const DOOR_ANSWER_WAIT: Duration = Duration::from_secs(5);
/// What is read and thrown away of a refused request, so that its sender can read the answer.
pub const DOOR_DISCARD_BYTES_MAX: usize = 16 << 20;
/// What is expanded of a body, or walked through, where everything else waits; more is done beside it.
pub const DOOR_INLINE_BYTES: usize = 64 << 10;
/// As much of a JSON document, which takes longer.
pub const DOOR_INLINE_JSON_BYTES: usize = 16 << 10;
/// Compressed bytes expanded before it is looked at what came out: a thousand times as much at most.
pub const DOOR_INLINE_WIRE_BYTES: usize = 256;
/// The least request that may have to wait for room is taken for so large, if its length says more: with less room
/// the core makes some, without being asked.
pub const DOOR_SIGN_BYTES_MAX: u64 = 64 << 10;
/// After work on a request that found no room nothing of the kind is begun for so many times as long.
pub const DOOR_WASTE_FACTOR: u32 = 4;
/// The longest such pause.
pub const DOOR_WASTE_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A connection with an older request does not take its answer: it makes place for others.
pub const DOOR_BUSY_MAX: Duration = DOOR_BODY_WAIT.saturating_add(DOOR_ANSWER_WAIT);
/// When to come back to doors that have no room.
pub const DOOR_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Refused requests that get a line; more would only fill the log.
pub const DOOR_FAULTS_TOLD_MAX: u32 = 5;

const _: () = assert!(DOOR_BODY_BYTES_MAX + DOOR_REQUEST_BYTES + DOOR_GZIP_BYTES < DOOR_BODIES_BYTES_MAX);
