//! Log lines: JSON or pretty, on standard error; standard output belongs to what a command prints.
//!
//! Every line carries `node`, and `connection` and `user` when it is written inside a span that has them, as fields
//! of its own: whoever searches for a user finds all lines. Not here: what is logged, and the audit trail.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Config, LogFormat, LogLevel};

/// Fields that lines take over from the spans around them.
const INHERITED: &[&str] = &["connection", "user"];

/// Starts logging for this process, and says what the configuration deserves a warning for. Call once.
pub fn start(config: &Config) {
    let lines = Lines {
        node: config.node_id.to_string(),
        format: config.log_format,
        write: to_stderr,
    };
    tracing_subscriber::registry()
        .with(filter(config.log_level))
        .with(lines)
        .init();
    for warning in config.warnings() {
        match warning.level {
            LogLevel::Error => tracing::error!("{warning}"),
            _ => tracing::warn!("{warning}"),
        }
    }
}

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    // What it says at `info` the archive says in one line of its own.
    Targets::new()
        .with_default(level)
        .with_target("refinery_core", level.min(LevelFilter::WARN))
}

fn to_stderr(line: &str) {
    // A closed standard error leaves nobody to tell.
    let _closed = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Writes one line per event.
struct Lines<W> {
    node: String,
    format: LogFormat,
    write: W,
}

/// What a span hands down to its lines.
#[derive(Default)]
struct Inherited(Map<String, Value>);

impl Inherited {
    fn take_over(&mut self, fields: Map<String, Value>) {
        self.0.extend(
            fields
                .into_iter()
                .filter(|(name, _)| INHERITED.contains(&name.as_str())),
        );
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let Some(span) = context.span(id) else { return };
        let mut inherited = Inherited::default();
        if let Some(parent) = span.parent()
            && let Some(above) = parent.extensions().get::<Inherited>()
        {
            inherited.0.clone_from(&above.0);
        }
        inherited.take_over(fields.0);
        span.extensions_mut().insert(inherited);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(inherited) = span.extensions_mut().get_mut::<Inherited>()
        {
            inherited.take_over(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut around = Map::new();
        if let Some(span) = context.event_span(event)
            && let Some(inherited) = span.extensions().get::<Inherited>()
        {
            around.clone_from(&inherited.0);
        }
        // An event's own field is nearer than the span's.
        around.retain(|name, _| !fields.0.contains_key(name));
        let meta = event.metadata();
        let line = match self.format {
            LogFormat::Json => self.json(*meta.level(), meta.target(), around, fields.0),
            LogFormat::Pretty => self.pretty(*meta.level(), meta.target(), &around, fields.0),
        };
        (self.write)(&line);
    }
}

impl<W> Lines<W> {
    /// Who and when first, for people who read raw lines.
    fn json(&self, level: Level, target: &str, around: Map<String, Value>, fields: Map<String, Value>) -> String {
        let own = [
            ("timestamp", now()),
            ("level", level.as_str().to_ascii_lowercase()),
            ("node", self.node.clone()),
            ("target", target.to_owned()),
        ];
        let mut line = String::from("{");
        for (name, text) in &own {
            push_pair(&mut line, name, &Value::from(text.as_str()));
        }
        for (name, value) in around.into_iter().chain(fields) {
            // A field never hides who wrote the line.
            let taken = own.iter().any(|(own, _)| *own == name);
            push_pair(&mut line, &if taken { format!("field_{name}") } else { name }, &value);
        }
        line.push_str("}\n");
        line
    }

    fn pretty(
        &self,
        level: Level,
        target: &str,
        around: &Map<String, Value>,
        mut fields: Map<String, Value>,
    ) -> String {
        let message = fields.remove("message");
        let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
        let mut line = format!("{} {level:>5} {} {target}: {}", now(), self.node, Plain(message));
        for (name, value) in around.iter().chain(&fields) {
            // Writing into a String cannot fail.
            let _infallible = match value {
                Value::String(text) => write!(line, " {name}={}", Plain(text)),
                other => write!(line, " {name}={other}"),
            };
        }
        line.push('\n');
        line
    }
}

/// `"name":value`, with a comma unless it is the first. Writing into a String cannot fail.
fn push_pair(line: &mut String, name: &str, value: &Value) {
    if line.len() > 1 {
        line.push(',');
    }
    push_text(line, name);
    line.push(':');
    match value {
        Value::String(text) => push_text(line, text),
        other => {
            let _infallible = write!(line, "{other}");
        }
    }
}

/// A JSON text, with its quotes; by far faster than by way of `Display`, and there is a line for every connection.
fn push_text(line: &mut String, text: &str) {
    line.push_str(&serde_json::to_string(text).expect("a text is always JSON"));
}

fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// A text in which control characters are escaped, so that nobody writes log lines but the gateway.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| {
            if c.is_control() {
                write!(f, "{}", c.escape_default())
            } else {
                f.write_char(c)
            }
        })
    }
}

/// Collects fields as JSON values.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(below) = cause {
            text.push_str(": ");
            text.push_str(&below.to_string());
            cause = below.source();
        }
        self.0.insert(field.name().to_owned(), text.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn logged(format: LogFormat, act: impl FnOnce()) -> Vec<String> {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let write = move |line: &str| sink.lock().unwrap().push(line.to_owned());
        let subscriber = tracing_subscriber::registry().with(Lines {
            node: "node-1".into(),
            format,
            write,
        });
        tracing::subscriber::with_default(subscriber, act);
        Arc::try_unwrap(lines).unwrap().into_inner().unwrap()
    }

    fn json(act: impl FnOnce()) -> Value {
        serde_json::from_str(&logged(LogFormat::Json, act)[0]).unwrap()
    }

    #[test]
    fn a_line_carries_node_connection_and_user_at_the_top() {
        let line = json(|| {
            let outer = tracing::info_span!("socket", connection = "c1", user = tracing::field::Empty, noise = 1);
            outer.record("user", "ann");
            let _outer = outer.enter();
            let _inner = tracing::info_span!("event").entered();
            tracing::info!(count = 3, "joined");
        });
        assert_eq!(line["node"], "node-1");
        assert_eq!(line["connection"], "c1");
        assert_eq!(line["user"], "ann");
        assert_eq!(line["count"], 3);
        assert_eq!(line["message"], "joined");
        assert_eq!(line["level"], "info");
        assert_eq!(line["noise"], Value::Null);
    }

    #[test]
    fn outside_a_span_there_is_only_the_node() {
        let line = json(|| tracing::warn!("alone"));
        assert_eq!(line["node"], "node-1");
        assert!(line.get("connection").is_none() && line.get("user").is_none());
    }

    #[test]
    fn a_field_cannot_pose_as_the_node() {
        let line = json(|| tracing::warn!(node = "other", "x"));
        assert_eq!(line["node"], "node-1");
        assert_eq!(line["field_node"], "other");
    }

    #[test]
    fn a_value_cannot_begin_a_line_of_its_own() {
        for format in [LogFormat::Json, LogFormat::Pretty] {
            let lines = logged(format, || tracing::info!(room = "a\nb\u{1b}[2J", "two\nlines"));
            assert_eq!(lines[0].matches('\n').count(), 1, "{lines:?}");
            assert!(!lines[0].contains('\u{1b}'));
        }
    }
}
