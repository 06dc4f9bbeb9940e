//! What the sessions came to: medians over them, as a table, as JSON, as a picture.

use serde_json::{Value, json};

use crate::Fault;
use crate::arguments::Compared;
use crate::carriers::picture;
use crate::carriers::session::{Carrier, Sample, median};

/// One quantity in one room, by carrier.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) room: String,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// As [`Carrier::ALL`]; what is nothing without telemetry is zero for the first.
    pub(crate) values: [f64; 3],
    /// The promise's limits of what socket and ring add, if there is one.
    pub(crate) added_max: Option<[f64; 2]>,
}

impl Row {
    /// What a carrier adds to the first one.
    pub(crate) fn added(&self) -> [f64; 2] {
        let [floor, socket, ring] = self.values;
        [socket - floor, ring - floor]
    }

    /// How many times cheaper the ring's addition is than the socket's.
    pub(crate) fn gain(&self) -> f64 {
        let [socket, ring] = self.added();
        socket / ring
    }
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(crate) skipped: Vec<String>,
    runs: usize,
    dropped: u64,
}

impl Report {
    /// The sessions of one room, by carrier.
    pub(crate) fn add(&mut self, room: &str, is_promised: bool, samples: &[Vec<Sample>; 3]) {
        let of =
            |pick: fn(&Sample) -> f64| samples.each_ref().map(|samples| median(samples.iter().map(pick)));
        let beyond_first = |[first, socket, ring]: [f64; 3]| [0.0, socket - first, ring - first];
        // From nanoseconds.
        let mut row = |name, values: [f64; 3], added_max: Option<[f64; 2]>| {
            let (room, values) = (room.to_owned(), values.map(|value| value / 1e3));
            let added_max = added_max.filter(|_| is_promised);
            self.rows.push(Row { room, name, unit: "us", values, added_max });
        };
        // P6: on the socket, and on the ring.
        row("span of 4 attributes, of 2,000", of(|one| one.span), Some([6.0, 1.5]));
        row("span of 4 attributes, of 20", of(|one| one.span_of_few), Some([6.0, 1.5]));
        row("invocation, function's CPU", of(|one| one.function_invocation), Some([150.0, 80.0]));
        row("invocation, until the response", of(|one| one.response), Some([150.0, 80.0]));
        // The last word of an invocation wakes the extension, which may be given the CPU at once.
        row("invocation, until all is told", of(|one| one.invocation), Some([150.0, 80.0]));
        row("extension's CPU, per span", beyond_first(of(|one| one.extension_span)), None);
        let values = beyond_first(of(|one| one.extension_invocation));
        row("extension's CPU, per invocation", values, None);
        self.runs = self.runs.max(samples.iter().map(Vec::len).max().unwrap_or(0));
        self.dropped += samples.iter().flatten().map(|sample| sample.dropped).sum::<u64>();
    }

    /// Prints, and writes the files that are wanted.
    pub(crate) fn tell(&self, wanted: &Compared) -> Result<(), Fault> {
        let write = |path: &std::path::Path, text: &str| {
            std::fs::write(path, text).map_err(|fault| format!("{}: {fault}", path.display()))
        };
        let json = self.json();
        if let Some(path) = &wanted.json_file {
            write(path, &format!("{json:#}\n"))?;
        }
        if let Some(path) = &wanted.picture {
            write(path, &picture::svg(&self.rows))?;
        }
        println!("{}", if wanted.json { json.to_string() } else { self.table() });
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = String::new();
        let mut room = "";
        for row in &self.rows {
            if row.room != room {
                room = &row.room;
                let [none, socket, ring] = Carrier::ALL.map(Carrier::name);
                table
                    .push_str(&format!("{room:<36} {none:>9} {socket:>20} {ring:>20}   added by the ring\n"));
            }
            let ([none, socket, ring], [by_socket, by_ring]) = (row.values, row.added());
            let (name, unit) = (row.name, row.unit);
            table.push_str(&format!(
                "  {name:<34} {none:>6.2} {unit} {socket:>7.2} (+{by_socket:>7.2}) {unit} {ring:>7.2} (+{by_ring:>7.2}) {unit}"
            ));
            table.push_str(&format!("   1/{:.1} of the socket's", row.gain()));
            if let Some([socket, ring]) = row.added_max {
                table.push_str(&format!("; promised +{socket} and +{ring} {unit}"));
            }
            table.push('\n');
        }
        for skipped in &self.skipped {
            table.push_str(&format!("not measured: {skipped}\n"));
        }
        let (runs, dropped) = (self.runs, self.dropped);
        table
            .push_str(&format!("(medians of {runs} sessions of each in turn; {dropped} items were dropped)"));
        table
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let [none, socket, ring] = row.values;
            json!({
                "room": row.room, "name": row.name, "unit": row.unit, "no_op": none, "socket": socket, "ring": ring,
                "added": row.added(), "added_max": row.added_max, "gain": row.gain(),
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({"carriers": rows, "not_measured": self.skipped, "sessions": self.runs, "dropped": self.dropped})
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn sample(span: f64) -> Sample {
        Sample {
            span,
            span_of_few: span,
            invocation: 10.0 * span,
            response: 9.0 * span,
            function_invocation: 8.0 * span,
            extension_span: span,
            extension_invocation: span,
            dropped: 1,
        }
    }

    pub(crate) fn report() -> Report {
        let mut report = Report::default();
        let of = |span: f64| vec![sample(span), sample(span * 50.0), sample(span)];
        report.add("a room", true, &[of(1_000.0), of(5_000.0), of(2_000.0)]);
        report
    }

    #[test]
    fn what_a_carrier_adds_is_told_beside_the_promise() {
        let report = report();
        let json = report.json();
        assert_eq!(json.pointer("/carriers/0/added"), Some(&json!([4.0, 1.0])));
        assert_eq!(json.pointer("/carriers/0/added_max"), Some(&json!([6.0, 1.5])));
        assert_eq!(json.pointer("/carriers/0/gain"), Some(&json!(4.0)));
        assert_eq!(json.pointer("/carriers/5/no_op"), Some(&json!(0.0)), "the extension's rest is taken off");
        assert_eq!((report.runs, report.dropped), (3, 9));
        let table = report.table();
        assert!(table.contains("1/4.0 of the socket's; promised +6 and +1.5 us"), "{table}");
    }
}
