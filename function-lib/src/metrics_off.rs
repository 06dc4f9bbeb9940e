//! What is left of metrics without the feature `metrics`: nothing.

use std::time::Duration;

use crate::config::{Config, Reader};
use crate::handoff::Handoff;
use crate::resource::EncodedResource;

/// Nothing to prefer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Preferences;

impl Preferences {
    pub(crate) fn read(_: &mut Reader<'_>) -> Self {
        Self
    }
}

/// No metrics.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) faas: Faas,
}

/// No setup.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Setup(());

impl Setup {
    pub(crate) fn build(self, config: &Config, _: &EncodedResource, _: &Handoff) -> Metrics {
        let Preferences = config.metrics;
        Metrics { faas: Faas }
    }
}

impl Metrics {
    pub(crate) fn install(&self) {}
}

/// Measures nothing.
#[derive(Debug, Clone)]
pub(crate) struct Faas;

impl Faas {
    pub(crate) fn cold_start(&self) {}

    pub(crate) fn ended(&self, _successful: bool, _after: Duration) {}
}
