//! How what is counted gets its name: a collector is named and registered in one place, and the children of a closed list
//! are there from the start, so that no rate begins in the middle. Not here: what is counted (each layer's own `metrics`).

use std::sync::OnceLock;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// Makes collectors that are registered already. Each fails when its name is taken, or none.
pub trait Register {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error>;
    /// One for each word of a label; those that are known beforehand are there at once.
    fn counters(&self, name: &str, help: &str, label: &str, words: &[&str]) -> Result<IntCounterVec, Error>;
    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error>;
    /// A gauge of something that is measured, not counted.
    fn measure(&self, name: &str, help: &str) -> Result<Gauge, Error>;
    fn gauges(&self, name: &str, help: &str, label: &str, words: &[&str]) -> Result<IntGaugeVec, Error>;
    fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, Error>;
    fn histograms(&self, name: &str, help: &str, label: &str, bounds: &[f64]) -> Result<HistogramVec, Error>;
    /// What somebody else keeps, read whenever somebody asks.
    fn look_at(&self, look: impl Fn(&mut View) + Send + Sync + 'static) -> Result<(), Error>;
}

impl Register for Registry {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        registered(self, IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, label: &str, words: &[&str]) -> Result<IntCounterVec, Error> {
        let counters = registered(self, IntCounterVec::new(Opts::new(name, help), &[label])?)?;
        words.iter().for_each(|word| drop(counters.with_label_values(&[word])));
        Ok(counters)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        registered(self, IntGauge::new(name, help)?)
    }

    fn measure(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        registered(self, Gauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, label: &str, words: &[&str]) -> Result<IntGaugeVec, Error> {
        let gauges = registered(self, IntGaugeVec::new(Opts::new(name, help), &[label])?)?;
        words.iter().for_each(|word| drop(gauges.with_label_values(&[word])));
        Ok(gauges)
    }

    fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        registered(self, Histogram::with_opts(options)?)
    }

    fn histograms(&self, name: &str, help: &str, label: &str, bounds: &[f64]) -> Result<HistogramVec, Error> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        registered(self, HistogramVec::new(options, &[label])?)
    }

    fn look_at(&self, look: impl Fn(&mut View) + Send + Sync + 'static) -> Result<(), Error> {
        let mut view = View::default();
        look(&mut view);
        let descriptions = view.seen.iter().map(Seen::description).collect::<Result<_, _>>()?;
        self.register(Box::new(Watched { look, descriptions }))
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// The histogram of one word, made when it is first needed: a word that nobody uses costs no buckets. Found without a lock.
pub struct Child {
    family: HistogramVec,
    word: &'static str,
    histogram: OnceLock<Histogram>,
}

impl Child {
    /// Of a family with one label.
    pub fn new(family: &HistogramVec, word: &'static str) -> Self {
        Self {
            family: family.clone(),
            word,
            histogram: OnceLock::new(),
        }
    }

    /// The histogram; from now on it is shown.
    pub fn get(&self) -> &Histogram {
        self.histogram
            .get_or_init(|| self.family.with_label_values(&[self.word]))
    }
}

/// What [`Register::look_at`] sees in one look. It shows the same names each time; the words of a label may change.
#[derive(Default)]
pub struct View {
    seen: Vec<Seen>,
    fixed: Option<(&'static str, &'static str)>,
}

struct Seen {
    family: MetricFamily,
    label: Option<String>,
}

impl View {
    /// Whatever is shown from now on has this label, too.
    pub fn fix(&mut self, label: &'static str, word: &'static str) {
        self.fixed = Some((label, word));
    }

    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::COUNTER, None, [(String::new(), value)]);
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.add(name, help, MetricType::GAUGE, None, [(String::new(), value)]);
    }

    /// `values`: the label's words, and what each stands at.
    pub fn counters<W: Into<String>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (W, f64)>,
    ) {
        self.add(name, help, MetricType::COUNTER, Some(label), values);
    }

    /// The same of gauges.
    pub fn gauges<W: Into<String>>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (W, f64)>,
    ) {
        self.add(name, help, MetricType::GAUGE, Some(label), values);
    }

    /// `counts`: how many values each bound is the next above, and last those above all bounds.
    pub fn histogram(&mut self, name: &str, help: &str, bounds: &[f64], counts: &[u64], sum: f64) {
        let mut histogram = proto::Histogram::default();
        let mut counted = 0;
        let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
            counted += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(counted);
            bucket
        });
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        self.push(name, help, MetricType::HISTOGRAM, None, vec![metric]);
    }

    fn add<W: Into<String>>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        label: Option<&str>,
        values: impl IntoIterator<Item = (W, f64)>,
    ) {
        let fixed = self.fixed.map(|(label, word)| pair(label, word.to_owned()));
        let metrics = values.into_iter().map(|(word, value)| {
            let own = label.map(|label| pair(label, word.into()));
            let mut metric = proto::Metric::from_label(own.into_iter().chain(fixed.clone()).collect());
            if kind == MetricType::COUNTER {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            metric
        });
        let metrics = metrics.collect();
        self.push(name, help, kind, label, metrics);
    }

    fn push(&mut self, name: &str, help: &str, kind: MetricType, label: Option<&str>, metrics: Vec<proto::Metric>) {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        family.set_metric(metrics);
        let label = label.map(str::to_owned);
        self.seen.push(Seen { family, label });
    }
}

fn pair(label: &str, word: String) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(label.to_owned());
    pair.set_value(word);
    pair
}

impl Seen {
    fn description(&self) -> Result<Desc, Error> {
        // A fixed label distinguishes nothing.
        let labels = self.label.clone().into_iter().collect();
        let (name, help) = (self.family.name().to_owned(), self.family.help().to_owned());
        Desc::new(name, help, labels, Default::default())
    }
}

struct Watched<F> {
    look: F,
    descriptions: Vec<Desc>,
}

impl<F: Fn(&mut View) + Send + Sync> Collector for Watched<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut view = View::default();
        (self.look)(&mut view);
        view.seen.into_iter().map(|seen| seen.family).collect()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }

    #[test]
    fn known_words_are_shown_before_anything_is_counted() {
        let registry = Registry::new();
        registry.counters("a_total", "A.", "word", &["x", "y"]).unwrap();
        let shown = text(&registry);
        assert!(
            shown.contains("a_total{word=\"x\"} 0\na_total{word=\"y\"} 0\n"),
            "{shown}"
        );
        assert!(registry.counter("a_total", "A.").is_err(), "the name is taken");
    }

    #[test]
    fn a_look_is_taken_each_time() {
        let registry = Registry::new();
        let looks = std::sync::atomic::AtomicU64::new(0);
        let look = move |view: &mut View| {
            let number = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            view.gauges(
                "g",
                "G.",
                "of",
                [("a", number as f64)].into_iter().skip(usize::from(number == 0)),
            );
            view.histogram("h", "H.", &[1.0, 2.0], &[3, 1, 2], 7.0);
        };
        registry.look_at(look).unwrap();
        let shown = text(&registry);
        assert!(shown.contains("# TYPE g gauge\ng{of=\"a\"} 1\n"), "{shown}");
        assert!(text(&registry).contains("g{of=\"a\"} 2\n"));
        for line in [
            "h_bucket{le=\"1\"} 3",
            "h_bucket{le=\"2\"} 4",
            "h_bucket{le=\"+Inf\"} 6",
            "h_sum 7",
            "h_count 6",
        ] {
            assert!(shown.contains(&format!("{line}\n")), "{line}: {shown}");
        }
        assert!(
            registry.counter("g", "G.").is_err(),
            "also a name that was not seen at first"
        );
    }

    #[test]
    fn a_child_is_shown_once_it_is_used() {
        let registry = Registry::new();
        let family = registry.histograms("d_seconds", "D.", "of", &[1.0]).unwrap();
        let (used, unused) = (Child::new(&family, "used"), Child::new(&family, "unused"));
        used.get().observe(0.5);
        let shown = text(&registry);
        assert!(
            shown.contains("d_seconds_count{of=\"used\"} 1\n") && !shown.contains("unused"),
            "{shown}"
        );
        drop(unused);
    }
}
