//! Where the extension stands in Lambda's lifecycle.
//!
//! ```text
//!  Init ─Registered─▶ Parked ─Invoke─▶ Invoking ─done, EOF, deadline─▶ Settling ─nothing in flight─▶ Parked
//!                       ▲                                                  │
//!                       └──────────────── /next is called ◀────────────────┘
//!  any ─Shutdown─▶ ShuttingDown ─everything settled─▶ Exited
//!
//!  On managed instances: Init ─Registered─▶ Serving ─Shutdown─▶ ShuttingDown
//! ```
//! Only states this process can observe have a name: it cannot see a freeze, only that `/next` is
//! outstanding. So `Parked` is the one phase that can be frozen, and it never has an export in flight. Managed
//! instances are not frozen: `Serving` exports while `/next` is outstanding.

use super::{Moment, RequestId, Wall};

/// See the module's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Not registered yet.
    Init,
    /// `/next` is outstanding.
    Parked {
        /// Since when.
        since: Moment,
    },
    /// A function is at work, as far as we know.
    Invoking(Invocation),
    /// The function is done; we hold `/next` back, which is billed.
    Settling {
        /// `/next` is called by then, whatever is in flight.
        until: Wall,
        /// Whether exports may begin.
        exporting: bool,
    },
    /// On managed instances: invocations come and go unseen, and `/next` is outstanding.
    Serving {
        /// Since when the open batches have something in them.
        gathering: Option<Moment>,
    },
    /// The environment ends.
    ShuttingDown(Ending),
    /// [`super::Action::Exit`] was given.
    Exited,
}

/// The invocation of an INVOKE event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// Which.
    pub request_id: RequestId,
    /// When the platform ends it.
    pub deadline: Wall,
    /// When INVOKE came.
    pub began: Moment,
}

/// The SHUTDOWN event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// As the platform spelt it.
    pub reason: String,
    /// When the process is killed.
    pub deadline: Wall,
    /// When SHUTDOWN came.
    pub began: Moment,
    /// Dead letters were handed to the driver; only their result is missing. It is waited for until then.
    pub writing: Option<Wall>,
}

impl Phase {
    /// For snapshots and messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Init => "Init",
            Self::Parked { .. } => "Parked",
            Self::Invoking(_) => "Invoking",
            Self::Settling { .. } => "Settling",
            Self::Serving { .. } => "Serving",
            Self::ShuttingDown(_) => "ShuttingDown",
            Self::Exited => "Exited",
        }
    }
}
