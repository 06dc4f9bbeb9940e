//! The product on the local Lambda: what the demo and the suites share.

pub mod demo;
pub mod door;
pub mod measured;
pub mod pinch;
pub mod proxy;
pub mod push;
pub mod rig;
pub mod stock;
pub mod wire;

pub use rig::{Ended, Rig};
