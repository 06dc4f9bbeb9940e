//! How much time a shutdown gives, and to whom.

use std::time::Duration;

/// Budget if at least one external extension is registered.
pub(crate) const EXTERNAL_EXTENSION_BUDGET: Duration = Duration::from_millis(2_000);
/// Budget if only internal extensions are registered, all of it for the runtime.
pub(crate) const INTERNAL_EXTENSION_BUDGET: Duration = Duration::from_millis(500);
/// The runtime's part of the budget beside external extensions, by AWS's older documentation.
pub(crate) const RUNTIME_SHARE: Duration = Duration::from_millis(300);

/// The time that a shutdown allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// From the start of the shutdown to the end of the last process.
    pub(crate) total: Duration,
    /// From SIGTERM to SIGKILL of the runtime; zero means SIGKILL without SIGTERM.
    pub(crate) runtime: Duration,
}

impl Budget {
    /// The budget for an environment in which these kinds of extensions are registered.
    pub(crate) fn new(any_external: bool, any_internal: bool, runtime_share: Duration) -> Self {
        match (any_external, any_internal) {
            (true, _) => Self {
                total: EXTERNAL_EXTENSION_BUDGET,
                runtime: runtime_share.min(EXTERNAL_EXTENSION_BUDGET),
            },
            (false, true) => Self { total: INTERNAL_EXTENSION_BUDGET, runtime: INTERNAL_EXTENSION_BUDGET },
            (false, false) => Self { total: Duration::ZERO, runtime: Duration::ZERO },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_those_of_the_documentation() {
        let share = Duration::from_millis(600);
        let of = |external, internal| {
            let budget = Budget::new(external, internal, share);
            (budget.total.as_millis(), budget.runtime.as_millis())
        };
        assert_eq!(of(false, false), (0, 0));
        assert_eq!(of(false, true), (500, 500));
        assert_eq!(of(true, false), (2_000, 600));
        assert_eq!(of(true, true), (2_000, 600));
    }
}
