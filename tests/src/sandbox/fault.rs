//! Wrong answers of the Extensions API, on demand.

use std::collections::{BTreeMap, VecDeque};

/// A wrong answer to one `/event/next` call. It comes at once and takes no event away: the next call is a normal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// HTTP 500 with an error body.
    Status500,
    /// HTTP 200 with a body that is no JSON.
    GarbageJson,
    /// HTTP 200 with an event type that does not exist.
    UnknownEvent,
    /// No answer: the connection is closed.
    CloseConnection,
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Status500 => "status_500",
            Self::GarbageJson => "garbage_json",
            Self::UnknownEvent => "unknown_event",
            Self::CloseConnection => "close_connection",
        }
    }
}

/// The faults still to come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// `/event/next` calls of external extensions so far, over all resets.
    calls: u32,
    by_call: BTreeMap<u32, Fault>,
    next: VecDeque<Fault>,
}

impl Faults {
    /// Plans a fault for the call with this number, the first call being 1.
    pub(crate) fn plan(&mut self, call: u32, fault: Fault) {
        self.by_call.insert(call, fault);
    }

    /// Plans a fault for the next call that has none.
    pub(crate) fn inject(&mut self, fault: Fault) {
        self.next.push_back(fault);
    }

    /// Counts a call and tells what is wrong with it.
    pub(crate) fn on_call(&mut self) -> Option<Fault> {
        self.calls += 1;
        self.by_call.remove(&self.calls).or_else(|| self.next.pop_front())
    }
}
