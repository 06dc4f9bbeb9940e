//! What can be wrong on a link, and whose fault it is. Any of these closes that link and no other.

use std::fmt;

/// The other end broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// A length prefix above [`crate::limits::FRAME_BYTES_MAX`].
    FrameTooLarge {
        /// What the prefix said.
        bytes: usize,
    },
    /// A frame that is not a message of `handoff.proto`.
    Malformed {
        /// What the protobuf decoder said.
        detail: String,
    },
    /// A message other than `Hello` came first.
    HelloExpected,
    /// The peer speaks no version this end speaks.
    Version {
        /// The newest version of the peer.
        theirs: u32,
    },
    /// More item bytes than were granted.
    CreditExceeded {
        /// Bytes of item frames received on this link.
        received_bytes: u64,
        /// Bytes granted.
        credit_bytes: u64,
    },
    /// `Welcome` names a ring that was not offered, or that holds no frame.
    Ring {
        /// Its size.
        ring_bytes: u64,
    },
    /// A limit of [`crate::limits`] was passed.
    Limit {
        /// The limit's name.
        name: &'static str,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameTooLarge { bytes } => {
                write!(
                    f,
                    "a frame of {bytes} bytes is over FRAME_BYTES_MAX ({})",
                    crate::limits::FRAME_BYTES_MAX
                )
            }
            Self::Malformed { detail } => write!(f, "a frame is not a hand-off message: {detail}"),
            Self::HelloExpected => write!(f, "the first message was not Hello"),
            Self::Version { theirs } => {
                write!(f, "the peer's newest version is {theirs}; see Versions::CURRENT")
            }
            Self::CreditExceeded { received_bytes, credit_bytes } => {
                write!(f, "{received_bytes} item bytes were sent where {credit_bytes} were granted")
            }
            Self::Ring { ring_bytes } => write!(f, "a ring of {ring_bytes} bytes was not offered"),
            Self::Limit { name } => write!(f, "{name} was passed"),
        }
    }
}

impl std::error::Error for WireError {}

impl From<prost::DecodeError> for WireError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed { detail: error.to_string() }
    }
}
