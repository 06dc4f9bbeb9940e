//! Every limit of the protocol, with its unit in its name.

/// The largest frame, without its length prefix. An item that does not fit is dropped by the function
/// with the reason `too_large`.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// The length prefix of a frame: `u32`, little endian.
pub const FRAME_HEADER_BYTES: usize = 4;

/// The most an `Item` frame adds around the encoded item (tags, lengths, sequence number, scope id).
pub const ITEM_OVERHEAD_BYTES_MAX: usize = 48;

/// Instrumentation scopes that one link may name.
pub const LINK_SCOPES_MAX: usize = 1024;

/// An encoded instrumentation scope.
pub const SCOPE_BYTES_MAX: usize = 16 << 10;

/// All scopes that one link names, with their schema URLs.
pub const LINK_SCOPES_BYTES_MAX: usize = 192 << 10;

/// How often a link may say `Hello`: once, and again after each restore.
pub const LINK_HELLOS_MAX: usize = 16;

/// An encoded resource.
pub const RESOURCE_BYTES_MAX: usize = 64 << 10;

/// A name that is kept: a schema URL, a request id, an attempt.
pub const NAME_BYTES_MAX: usize = 1024;

/// Drop reasons that one set of counters may name; what is beyond them counts as `other`.
pub const COUNTERS_REASONS_MAX: usize = 32;

/// A drop reason's name.
pub const REASON_BYTES_MAX: usize = 64;

/// The frames of a ring in shared memory, at the most. It takes no memory before it is written to.
pub const RING_BYTES_MAX: u64 = 4 << 20;

/// The least, so that every frame fits an empty ring.
pub const RING_BYTES_MIN: u64 = FRAME_BYTES_MAX as u64 + 8;

/// What stands before the frames of a ring.
pub const RING_HEADER_BYTES: usize = 512;

const _: () = assert!(SCOPE_BYTES_MAX < FRAME_BYTES_MAX && RESOURCE_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX < u32::MAX as usize);
const _: () = assert!(RING_BYTES_MIN.is_multiple_of(8) && RING_BYTES_MIN < RING_BYTES_MAX);
