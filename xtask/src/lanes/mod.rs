//! The list of lanes, cheap ones first; each check is in a file of its own kind.

mod cargo;
mod collector;
mod demo;
mod deny;
mod features;
mod fields;
mod fuzz;
mod rie;
mod test;

use crate::lane::Lane;

/// Every lane, in the order in which they run. The limits add up to more than CI's 45 minutes on purpose: each
/// is there to end a command that hangs, not to ration one that works.
pub(crate) const ALL: &[Lane] = &[
    Lane {
        name: "fmt",
        about: "rustfmt has nothing to change",
        in_ci: true,
        limit_minutes: 2,
        check: cargo::fmt,
    },
    Lane {
        name: "clippy",
        about: "no warning from the workspace's lints, in any target",
        in_ci: true,
        limit_minutes: 20,
        check: cargo::clippy,
    },
    Lane {
        name: "features",
        about: "the library builds without a warning with every set of its features",
        in_ci: true,
        limit_minutes: 20,
        check: features::check,
    },
    Lane {
        name: "docs",
        about: "rustdoc builds without a warning",
        in_ci: true,
        limit_minutes: 15,
        check: cargo::docs,
    },
    Lane {
        name: "test",
        about: "all tests: units, fuzz corpora, tidiness, real processes on the local Lambda",
        in_ci: true,
        limit_minutes: 20,
        check: test::check,
    },
    Lane {
        name: "demo",
        about: "cargo demo accounts for every span",
        in_ci: true,
        limit_minutes: 15,
        check: demo::check,
    },
    Lane {
        name: "rie",
        about: "the same scenarios under AWS's own emulator",
        in_ci: true,
        limit_minutes: 10,
        check: rie::check,
    },
    Lane {
        name: "fields",
        about: "what arrives is what the SDK recorded, field by field, read by Python's opentelemetry-proto",
        in_ci: true,
        limit_minutes: 10,
        check: fields::check,
    },
    Lane {
        name: "collector",
        about: "a real OpenTelemetry Collector, built from its Go modules, takes the same items",
        in_ci: true,
        limit_minutes: 15,
        check: collector::check,
    },
    Lane {
        name: "deny",
        about: "licences, bans and sources of all dependencies (cargo-deny)",
        in_ci: true,
        limit_minutes: 15,
        check: deny::policy,
    },
    Lane {
        name: "advisories",
        about: "no dependency with a known vulnerability (cargo-deny, RustSec's database)",
        in_ci: true,
        limit_minutes: 15,
        check: deny::advisories,
    },
    Lane {
        name: "fuzz",
        about: "a minute of coverage-guided fuzzing per decoder, from the committed corpora",
        in_ci: false,
        limit_minutes: 15,
        check: fuzz::check,
    },
];
