//! Looking variables up, and gathering what is wrong with them.

use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use super::{Fault, Source};

/// The variables and the faults so far.
pub(super) struct Vars<'a> {
    source: &'a dyn Source,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Vars<'a> {
    pub(super) fn new(source: &'a dyn Source) -> Self {
        Self { source, faults: Vec::new() }
    }

    /// An empty variable is an unset one.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.source.var(name)?.trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// The first of `names` that is set, with its text.
    pub(super) fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| Some((*name, self.text(name)?)))
    }

    /// As [`Vars::first`], for names that were made.
    pub(super) fn first_of(&self, names: &[String]) -> Option<(String, String)> {
        names.iter().find_map(|name| Some((name.clone(), self.text(name)?)))
    }

    /// Notes a fault once: the three signals mostly share one variable.
    pub(super) fn fault(&mut self, name: &str, message: impl Into<String>) {
        let fault = Fault { variable: name.to_owned(), message: message.into() };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// A number of `unit` within `range`.
    pub(super) fn number<T>(&mut self, names: &[&str], unit: &str, default: T, range: &RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + Copy + std::fmt::Display,
    {
        let Some((name, text)) = self.first(names) else { return default };
        match text.parse().ok().filter(|value| range.contains(value)) {
            Some(value) => value,
            None => {
                let (least, most) = (range.start(), range.end());
                self.fault(
                    name,
                    format!("is not a number of {unit} from {least} to {most}; {default} is used"),
                );
                default
            }
        }
    }

    pub(super) fn millis(&mut self, names: &[&str], default: u64, range: &RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(names, "milliseconds", default, range))
    }
}
