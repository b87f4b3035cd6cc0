//! deploy/grafana: the dashboard is one that Grafana takes, what it and the alerts ask for is what a node shows, and each
//! alert is raised by what it is for. Grafana itself is not here: it is no package of Debian's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::metrics::{complete_node, scrape};
use crate::support::metrics::{Family, families, promtool_agrees};

const ROWS: &[&str] = &[
    "Health",
    "Connections",
    "Rooms and presence",
    "Messages",
    "Latency",
    "Redis",
    "Archive",
    "Process",
];
/// What Prometheus itself adds to every sample.
const TARGET_LABELS: &[&str] = &["job", "instance"];
const ALERTS: &str = "deploy/grafana/alerts.yaml";
const ALERTS_TEST: &str = "deploy/grafana/alerts_test.yaml";

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/grafana/dashboard.json")).expect("the dashboard is JSON")
}

fn panels(dashboard: &Value) -> &[Value] {
    dashboard["panels"].as_array().expect("panels")
}

fn targets(dashboard: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    let all = panels(dashboard).iter();
    all.flat_map(|panel| {
        let targets = panel["targets"].as_array().into_iter().flatten();
        targets.map(move |target| (panel, target))
    })
}

/// PromQL as Prometheus gets it, with Grafana's variables put in.
fn expressions(dashboard: &Value) -> Vec<String> {
    let annotations = dashboard["annotations"]["list"].as_array().expect("annotations").iter();
    let written = targets(dashboard)
        .map(|(_, target)| &target["expr"])
        .chain(annotations.map(|annotation| &annotation["expr"]));
    written
        .filter_map(Value::as_str)
        .map(|expr| {
            let expr = expr.replace("$__rate_interval", "5m");
            expr.replace("$job", ".*").replace("$instance", ".*")
        })
        .collect()
}

/// The `expr` of each rule; they are folded over lines.
fn rules(text: &str) -> Vec<String> {
    let mut rules: Vec<String> = Vec::new();
    let mut is_folded = false;
    for line in text.lines() {
        if let Some(expr) = line.strip_prefix("        expr: ") {
            is_folded = expr == ">-";
            rules.push(if is_folded { String::new() } else { expr.to_owned() });
        } else if is_folded && line.starts_with("          ") {
            let rule = rules.last_mut().expect("pushed above");
            rule.push_str(line.trim_start());
            rule.push(' ');
        } else {
            is_folded = false;
        }
    }
    rules
}

/// Names of our metrics in PromQL, each with the labels that its braces ask for.
fn asked_for(expr: &str) -> Vec<(String, BTreeSet<String>)> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = expr;
    while let Some(at) = rest.find(is_word) {
        let end = rest[at..].find(|c| !is_word(c)).map_or(rest.len(), |len| at + len);
        let word = &rest[at..end];
        rest = &rest[end..];
        if !["realtime_", "process_", "socket_io_"]
            .iter()
            .any(|prefix| word.starts_with(prefix))
        {
            // A label's value is no name.
            if let Some(value) = rest.strip_prefix("=\"").or_else(|| rest.strip_prefix("=~\"")) {
                rest = value.split_once('"').map_or("", |(_, rest)| rest);
            }
            continue;
        }
        let braces = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let matchers = braces.map_or("", |(matchers, _)| matchers).split("\",");
        let labels = matchers.filter_map(|matcher| Some(matcher.split_once(['=', '!'])?.0.trim().to_owned()));
        found.push((word.to_owned(), labels.collect()));
    }
    found
}

#[test]
fn names_and_labels_are_found_in_promql() {
    let expr = r#"sum by (le) (rate(realtime_a_bucket{job=~"realtime_x", code!="B"}[5m])) / realtime_c > 0.1"#;
    let found = asked_for(expr);
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        found,
        [
            ("realtime_a_bucket".to_owned(), labels(&["job", "code"])),
            ("realtime_c".to_owned(), labels(&[]))
        ]
    );
    let yaml = "        expr: a > 1\n        for: 1m\n        expr: >-\n          b\n          > 2\n        for: 1m\n";
    assert_eq!(rules(yaml), ["a > 1", "b > 2 "]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_and_the_alerts_ask_for_what_a_node_shows() {
    let (_redis, _database, node) = complete_node().await;
    let shown = families(&scrape(&node).await);
    let samples: BTreeMap<String, &Family> = shown
        .iter()
        .flat_map(|(name, family)| family.samples(name).into_iter().map(move |sample| (sample, family)))
        .collect();
    let asked = expressions(&dashboard()).into_iter().chain(rules(&read(ALERTS)));
    let mut used = BTreeSet::new();
    for expr in asked {
        for (name, labels) in asked_for(&expr) {
            let family = samples
                .get(&name)
                .unwrap_or_else(|| panic!("no node shows {name}: {expr}"));
            for label in labels {
                let is_known = TARGET_LABELS.contains(&&*label) || family.labels.contains(&label) || label == "le";
                assert!(is_known, "{name} has no label {label}: {expr}");
            }
            used.insert(name);
        }
    }
    assert!(used.len() > 60, "only {} names were found", used.len());
}

#[test]
fn the_dashboard_is_one_that_grafana_takes() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "nself-realtime");
    assert!(dashboard["id"].is_null(), "an id is the database's");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 38));
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let text = |variable: &Value, of: &str| variable[of].as_str().expect("a text").to_owned();
    let variables: Vec<_> = variables
        .iter()
        .map(|variable| (text(variable, "name"), text(variable, "type")))
        .collect();
    let expected = [("datasource", "datasource"), ("job", "query"), ("instance", "query")];
    assert_eq!(
        variables,
        expected.map(|(name, kind)| (name.to_owned(), kind.to_owned()))
    );
    let rows = panels(&dashboard).iter().filter(|panel| panel["type"] == "row");
    let rows: Vec<_> = rows.map(|row| row["title"].as_str().expect("a title")).collect();
    assert_eq!(rows, ROWS);

    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().expect("a title");
        assert!(
            ids.insert(panel["id"].as_u64().expect("an id")),
            "{title} has the id of another"
        );
        let place = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
        let (x, y, w, h) = (place("x"), place("y"), place("w"), place("h"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is wider than the page");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "{title} lies on another");
        }
        if panel["type"] == "row" {
            continue;
        }
        assert!(
            panel["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{title}"
        );
        assert!(
            panel["fieldConfig"]["defaults"]["unit"].is_string(),
            "{title} has no unit"
        );
        let targets = panel["targets"].as_array().expect("targets");
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str()).collect();
        assert_eq!(refs.len(), targets.len(), "{title}: two queries share a letter");
    }
    for (panel, target) in targets(&dashboard) {
        let expr = target["expr"].as_str().expect("a query");
        for source in [&panel["datasource"], &target["datasource"]] {
            assert_eq!(
                source["uid"], "${datasource}",
                "{expr}: another's Prometheus has another name"
            );
        }
        for (name, labels) in asked_for(expr) {
            let chosen = TARGET_LABELS.iter().all(|label| labels.contains(*label));
            assert!(chosen, "{name} is of nodes that nobody chose: {expr}");
        }
    }
}

#[test]
fn every_query_of_the_dashboard_is_promql() {
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, expr) in expressions(&dashboard()).iter().enumerate() {
        let expr = Value::from(expr.as_str());
        rules += &format!("      - record: dashboard:query:{number}\n        expr: {expr}\n");
    }
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    fs::write(file.path(), rules).expect("it takes them");
    promtool_agrees(&["check", "rules", file.path().to_str().expect("a path in UTF-8")], "");
}

#[test]
fn each_alert_is_raised_by_what_it_is_for_and_says_what_to_do() {
    promtool_agrees(&["check", "rules", ALERTS], "");
    promtool_agrees(&["test", "rules", ALERTS_TEST], "");
    let (alerts, tests) = (read(ALERTS), read(ALERTS_TEST));
    let mut alerts = alerts.split("      - alert: ");
    alerts.next();
    let mut names = BTreeSet::new();
    for alert in alerts {
        let name = alert.lines().next().expect("a name");
        assert!(names.insert(name), "{name} is there twice");
        for said in ["severity: ", "summary: ", "description: "] {
            assert!(alert.contains(said), "{name} has no {said}");
        }
        let runbook = format!("runbook: docs/failures.md#{}\n", name.to_lowercase());
        assert!(alert.contains(&runbook), "{name} sends nobody to its chapter");
        let raised = format!("- name: {name} is raised\n");
        let quiet = format!("- name: {name} is not raised\n");
        assert!(
            tests.contains(&raised) && tests.contains(&quiet),
            "{name} is not tested"
        );
    }
    assert!(names.len() > 20, "{names:?}");
}
