//! The list of lanes, cheap ones first; each check is in a file of its own kind.

mod bench;
mod cargo;
mod collector;
mod demo;
mod deny;
mod features;
mod fields;
mod fuzz;
mod instructions;
mod layer;
mod rie;
mod sdk;
mod sdk_node;
mod sdk_python;
mod socket;
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
        name: "instructions",
        about: "a span takes few instructions more than with a processor that does nothing (valgrind)",
        in_ci: true,
        limit_minutes: 15,
        check: instructions::check,
    },
    Lane {
        name: "socket",
        about: "the hand-off's tests once more, by the socket instead of the ring",
        in_ci: true,
        limit_minutes: 15,
        check: socket::check,
    },
    Lane {
        name: "socket-all",
        about: "all tests once more, by the socket",
        in_ci: false,
        limit_minutes: 25,
        check: socket::check_all,
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
        name: "sdk-python",
        about: "a Python function with the stock SDK under awslambdaric: everything arrives, by three protocols",
        in_ci: true,
        limit_minutes: 10,
        check: sdk_python::check,
    },
    Lane {
        name: "sdk-node",
        about: "a Node function with the stock SDK under aws-lambda-ric: everything arrives, by three protocols",
        in_ci: true,
        limit_minutes: 15,
        check: sdk_node::check,
    },
    Lane {
        name: "collector",
        about: "a real OpenTelemetry Collector, built from its Go modules, takes the same items",
        in_ci: true,
        limit_minutes: 15,
        check: collector::check,
    },
    Lane {
        name: "layer",
        about: "the layer is one static file within its limits, and works on an empty root",
        in_ci: true,
        limit_minutes: 15,
        check: layer::x86_64,
    },
    Lane {
        name: "layer-arm64",
        about: "the same for arm64, under qemu",
        in_ci: false,
        limit_minutes: 25,
        check: layer::arm64,
    },
    Lane {
        name: "bench",
        about: "start, memory, size and relay stay within their ratios to floors of the same run (P5, P7)",
        in_ci: false,
        limit_minutes: 15,
        check: bench::check,
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
