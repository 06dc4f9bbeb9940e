//! What was measured, each figure beside its floor and its limit: as a table and as JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::Fault;
use crate::arguments::Wanted;

/// P5's limits of what is shipped.
const FILE_BYTES_MAX: f64 = 4e6;
const ZIP_BYTES_MAX: f64 = 1.8e6;
/// Columns of a row's bar; its limit is at three quarters.
const BAR_COLUMNS: f64 = 32.0;
const LIMIT_COLUMN: f64 = 24.0;
/// With the mark of a bar that is full.
const BAR_CELLS: usize = 33;

/// One row.
pub(crate) struct Figure {
    pub(crate) promise: &'static str,
    pub(crate) name: String,
    /// In `unit`.
    pub(crate) value: f64,
    /// The same of the floor, in this run; `None` for an absolute limit.
    pub(crate) floor: Option<f64>,
    pub(crate) unit: &'static str,
    /// Of `value / floor`, or of `value`.
    pub(crate) limit: f64,
    /// Whether another load of the machine may change it: then the gate is tolerant.
    pub(crate) noisy: bool,
    /// What else there is to say.
    pub(crate) note: String,
}

impl Figure {
    /// What the limit is about.
    pub(crate) fn judged(&self) -> f64 {
        self.floor.map_or(self.value, |floor| self.value / floor)
    }

    pub(crate) fn is_over(&self, tolerance_percent: u64) -> bool {
        let tolerance =
            if self.noisy { f64::from(u32::try_from(tolerance_percent).unwrap_or(0)) } else { 0.0 };
        let is_within = self.judged() <= self.limit * (1.0 + tolerance / 100.0);
        // Said this way round so that a figure that is no number is over as well.
        !is_within
    }

    /// Whether there is no limit to hold.
    pub(crate) fn is_told_only(&self) -> bool {
        self.limit == f64::MAX
    }

    /// Value, floor and limit, for people.
    pub(crate) fn words(&self) -> String {
        let Self { value, unit, limit, .. } = self;
        match self.floor {
            Some(floor) if self.is_told_only() => {
                format!("{value:.2} {unit}, floor {floor:.2} {unit}: {:.2}x, no limit", self.judged())
            }
            Some(floor) => {
                format!("{value:.2} {unit}, floor {floor:.2} {unit}: {:.2}x of {limit:.2}x", self.judged())
            }
            None => format!("{value:.2} {unit} of {limit:.2} {unit}"),
        }
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) rows: Vec<Figure>,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
}

impl Figures {
    /// The sizes of what is shipped.
    pub(crate) fn sizes(&mut self, wanted: &Wanted) -> Result<(), Fault> {
        self.size("size of the binary", &wanted.extension, FILE_BYTES_MAX)?;
        match &wanted.zip {
            Some(zip) => self.size("size of the zip", zip, ZIP_BYTES_MAX),
            None => Ok(()),
        }
    }

    fn size(&mut self, name: &str, path: &Path, limit: f64) -> Result<(), Fault> {
        let found = std::fs::metadata(path).map_err(|fault| format!("{}: {fault}", path.display()))?;
        let bytes = f64::from(u32::try_from(found.len()).unwrap_or(u32::MAX));
        self.rows.push(Figure {
            promise: "P5",
            name: name.to_owned(),
            value: bytes / 1e6,
            floor: None,
            unit: "MB",
            limit: limit / 1e6,
            noisy: false,
            note: String::new(),
        });
        Ok(())
    }

    /// The names of all rows over their limits.
    pub(crate) fn over(&self, tolerance_percent: u64) -> Vec<&str> {
        let over = self.rows.iter().filter(|row| row.is_over(tolerance_percent));
        over.map(|row| row.name.as_str()).collect()
    }

    pub(crate) fn table(&self) -> String {
        let mut table = String::new();
        for row in &self.rows {
            let verdict = match row.is_told_only() {
                true => "told only",
                false if row.is_over(0) => "OVER",
                false => "ok",
            };
            let (name, words) = (&row.name, row.words());
            table.push_str(&format!("{} {name:<34} {} {words}  {verdict}\n", row.promise, bar(row)));
            if !row.note.is_empty() {
                table.push_str(&format!("   {:<34} {}\n", "", row.note));
            }
        }
        for skipped in &self.skipped {
            table.push_str(&format!("not measured: {skipped}\n"));
        }
        table.push_str(&format!("(the limit is at the bar's mark |; {} figures)", self.rows.len()));
        table
    }

    pub(crate) fn json(&self) -> Value {
        let row = |row: &Figure| {
            json!({
                "promise": row.promise, "name": row.name, "value": row.value, "floor": row.floor, "unit": row.unit,
                "judged": row.judged(), "limit": (!row.is_told_only()).then_some(row.limit), "ok": !row.is_over(0), "note": row.note,
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({"figures": rows, "not_measured": self.skipped, "over": self.over(0)})
    }
}

fn bar(row: &Figure) -> String {
    if row.is_told_only() {
        return " ".repeat(BAR_CELLS);
    }
    let share = (row.judged() / row.limit * LIMIT_COLUMN).clamp(0.0, BAR_COLUMNS);
    let cell = |column: f64| match (column < share, (column - LIMIT_COLUMN).abs() < 0.5) {
        (_, true) => '|',
        (true, false) => '█',
        (false, false) => ' ',
    };
    (0_u8..).take(BAR_CELLS).map(|column| cell(f64::from(column))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(value: f64, floor: Option<f64>, noisy: bool) -> Figure {
        let (name, note) = ("a".to_owned(), String::new());
        Figure { promise: "P5", name, value, floor, unit: "ms", limit: 1.5, noisy, note }
    }

    #[test]
    fn a_ratio_is_judged_where_there_is_a_floor() {
        assert!(!figure(2.9, Some(2.0), false).is_over(0));
        assert!(figure(3.1, Some(2.0), false).is_over(0));
        assert!(figure(1.6, None, false).is_over(0));
    }

    #[test]
    fn only_noisy_figures_are_tolerated() {
        assert!(!figure(1.6, None, true).is_over(10));
        assert!(figure(1.7, None, true).is_over(10));
        assert!(figure(1.6, None, false).is_over(10));
        assert!(figure(f64::NAN, None, true).is_over(10));
    }

    #[test]
    fn what_has_no_limit_is_told_and_never_over() {
        let told = Figure { limit: f64::MAX, ..figure(9.0, Some(2.0), true) };
        let figures = Figures { rows: vec![told], skipped: Vec::new() };
        let table = figures.table();
        assert!(
            !table.contains('█')
                && table.contains("4.50x, no limit")
                && table.contains("told only")
                && !table.contains("OVER")
        );
        assert_eq!(figures.json().pointer("/figures/0/limit"), Some(&Value::Null));
        assert_eq!(figures.json().pointer("/over"), Some(&json!([])));
    }

    #[test]
    fn the_table_and_the_json_name_what_is_over() {
        let figures = Figures { rows: vec![figure(9.0, None, false)], skipped: vec!["b: why".to_owned()] };
        assert!(figures.table().contains("OVER") && figures.table().contains("not measured: b: why"));
        assert_eq!(figures.json().pointer("/over/0"), Some(&json!("a")));
    }
}
