//! What the witness function measures, its own tally of it, and what of it has come to the backend.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use lambda_testkit::Backend;
use lambda_testkit::witness::{Tally, read_tally};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, MeterProvider, UpDownCounter};
use opentelemetry_proto::tonic::common::v1::KeyValue as OtlpKeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, NumberDataPoint};

/// The slots of the tally, which are the names of the sums: of a histogram there are two.
const SLOTS: [&str; 5] = [
    "witness.counter",
    "witness.histogram.count",
    "witness.histogram.sum",
    "witness.gauge",
    "witness.up_down",
];

/// One instrument of each kind, and the tally.
#[derive(Debug)]
pub struct Instruments {
    counter: Counter<u64>,
    histogram: Histogram<u64>,
    gauge: Gauge<i64>,
    up_down: UpDownCounter<i64>,
    tally: Option<Tally>,
}

impl Instruments {
    /// Makes them, and opens the tally that the environment names, if it does.
    ///
    /// # Errors
    /// The tally can't be opened.
    pub fn from_env(provider: &impl MeterProvider) -> io::Result<Self> {
        let meter = provider.meter("witness-function");
        Ok(Self {
            counter: meter.u64_counter("witness.counter").build(),
            histogram: meter.u64_histogram("witness.histogram").build(),
            gauge: meter.i64_gauge("witness.gauge").build(),
            up_down: meter.i64_up_down_counter("witness.up_down").build(),
            tally: Tally::from_env(SLOTS.len())?,
        })
    }

    /// Measures something that depends on `number`; each measurement is in the tally after it was made.
    pub fn measure(&self, number: u32) {
        let kind = KeyValue::new("kind", i64::from(number % 3));
        let up_down = if number.is_multiple_of(3) { -1 } else { 2 };
        let tally = |slot, add: i64| {
            if let Some(tally) = &self.tally {
                tally.add(slot, add.cast_unsigned());
            }
        };
        self.counter.add(1, &[kind]);
        tally(0, 1);
        self.histogram.record(number.into(), &[]);
        tally(1, 1);
        tally(2, number.into());
        self.gauge.record(i64::from(number), &[]);
        if let Some(tally) = &self.tally {
            tally.set(3, number.into());
        }
        self.up_down.add(up_down, &[]);
        tally(4, up_down);
    }
}

/// Sums by name; the last value of a gauge.
pub type Sums = BTreeMap<String, i64>;

/// What the function says it has measured.
///
/// # Errors
/// There is no tally.
pub fn tallied(path: impl AsRef<Path>) -> io::Result<Sums> {
    let slots = read_tally(path)?;
    Ok(SLOTS.iter().zip(slots).map(|(name, slot)| ((*name).to_owned(), slot.cast_signed())).collect())
}

/// What the backend took, of all metrics there are; it must have kept the bodies.
#[must_use]
pub fn delivered(backend: &Backend) -> Sums {
    let mut gathered = Gathered::default();
    for request in backend.requests().iter().filter(|request| request.is_ok()) {
        let metrics = request.metrics().into_iter().flat_map(|metrics| metrics.resource_metrics);
        for metric in metrics.flat_map(|resource| resource.scope_metrics).flat_map(|scope| scope.metrics) {
            gathered.add(&metric.name, metric.data);
        }
    }
    gathered.sums()
}

#[derive(Default)]
struct Gathered {
    deltas: Sums,
    /// When, and what, the latest of each series was.
    latest: HashMap<Series, (u64, i64)>,
}

/// One process's, of one instrument, with the same attributes.
#[derive(PartialEq, Eq, Hash)]
struct Series {
    name: String,
    start: u64,
    attributes: String,
}

impl Series {
    fn new(name: &str, start: u64, attributes: &[OtlpKeyValue]) -> Self {
        Self { name: name.to_owned(), start, attributes: format!("{attributes:?}") }
    }
}

impl Gathered {
    fn add(&mut self, name: &str, data: Option<Data>) {
        match data {
            Some(Data::Sum(sum)) => {
                for point in &sum.data_points {
                    let series = Series::new(name, point.start_time_unix_nano, &point.attributes);
                    self.point(sum.aggregation_temporality, series, point.time_unix_nano, value(point));
                }
            }
            Some(Data::Gauge(gauge)) => {
                for point in &gauge.data_points {
                    let (series, time) = (Series::new(name, 0, &point.attributes), point.time_unix_nano);
                    self.point(AggregationTemporality::Cumulative as i32, series, time, value(point));
                }
            }
            Some(Data::Histogram(histogram)) => {
                for point in &histogram.data_points {
                    let sums =
                        [("count", point.count.cast_signed()), ("sum", whole(point.sum.unwrap_or_default()))];
                    for (sum, value) in sums {
                        let name = format!("{name}.{sum}");
                        let series = Series::new(&name, point.start_time_unix_nano, &point.attributes);
                        self.point(histogram.aggregation_temporality, series, point.time_unix_nano, value);
                    }
                }
            }
            _ => {}
        }
    }

    fn point(&mut self, temporality: i32, series: Series, time: u64, value: i64) {
        if temporality == AggregationTemporality::Delta as i32 {
            *self.deltas.entry(series.name).or_default() += value;
        } else {
            let latest = self.latest.entry(series).or_default();
            *latest = (*latest).max((time, value));
        }
    }

    fn sums(self) -> Sums {
        let mut sums = self.deltas;
        for (series, (_, value)) in self.latest {
            *sums.entry(series.name).or_default() += value;
        }
        sums
    }
}

fn value(point: &NumberDataPoint) -> i64 {
    match point.value {
        Some(Value::AsInt(value)) => value,
        Some(Value::AsDouble(value)) => whole(value),
        None => 0,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "sums of whole numbers, far below 2^53")]
fn whole(value: f64) -> i64 {
    value as i64
}
