//! The manifests: right by the API's schemas, and in accord with one another and with the program. Not here: a cluster.

use std::collections::BTreeSet;
use std::path::PathBuf;

use nself_realtime::config::{Config, settings};
use serde_json::{Value, json};

use crate::documents::{Document, list, number, read, root, text};

fn files() -> Vec<PathBuf> {
    let directory = root().join("deploy/kubernetes");
    let entries = std::fs::read_dir(directory).expect("it is shipped");
    entries.map(|entry| entry.expect("it can be read").path()).collect()
}

/// Every document, by its kind.
struct Manifests(Vec<Document>);

impl Manifests {
    fn read() -> Self {
        Self(read("kubernetes", &files()).documents)
    }

    #[track_caller]
    fn of(&self, kind: &str) -> &Value {
        let mut found = self.0.iter().filter(|document| document.content["kind"] == kind);
        let first = found.next().unwrap_or_else(|| panic!("no {kind} is shipped"));
        assert!(found.next().is_none(), "two of {kind} are shipped");
        &first.content
    }

    fn pod(&self) -> &Value {
        &self.of("Deployment")["spec"]["template"]
    }

    fn container(&self) -> &Value {
        &self.pod()["spec"]["containers"][0]
    }

    /// What the container is told: configuration, secret, and its own name.
    fn variables(&self) -> Vec<(String, String)> {
        let pairs = |content: &Value| -> Vec<(String, String)> {
            let pairs = content.as_object().expect("a map");
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), text(value, "").to_owned()))
                .collect()
        };
        let mut variables = pairs(&self.of("ConfigMap")["data"]);
        variables.extend(pairs(&self.of("Secret")["stringData"]));
        for variable in list(self.container(), "/env") {
            variables.push((text(variable, "/name").to_owned(), "a-pod".to_owned()));
        }
        variables
    }

    fn config(&self) -> Config {
        let variables = self.variables();
        let pairs = variables.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Config::from_pairs(pairs).expect("the program takes these settings")
    }

    /// Whether these labels select the gateway's pods.
    fn selects(&self, labels: &Value) -> bool {
        is_part_of(labels, &self.pod()["metadata"]["labels"])
    }
}

fn is_part_of(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().expect("labels");
    !selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

#[test]
fn the_api_takes_every_manifest() {
    let read = read("kubernetes", &files());
    assert_eq!(read.errors, [""; 0]);
    let kinds: Vec<&str> = read
        .documents
        .iter()
        .map(|document| text(&document.content, "/kind"))
        .collect();
    for kind in [
        "Deployment",
        "Service",
        "Ingress",
        "PodDisruptionBudget",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "ServiceMonitor",
        "ServiceAccount",
        "Namespace",
        "ConfigMap",
        "Secret",
        "Job",
    ] {
        assert!(kinds.contains(&kind), "no {kind} among {kinds:?}");
    }
}

#[test]
fn a_misspelt_field_would_be_found() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory of our own");
    let wrong = dir.path().join("wrong.yaml");
    let shipped = std::fs::read_to_string(root().join("deploy/kubernetes/deployment.yaml")).expect("it is shipped");
    std::fs::write(&wrong, shipped.replace("readinessProbe:", "readynessProbe:")).expect("it is ours");
    let errors = read("kubernetes", &[wrong]).errors;
    assert!(
        errors.iter().any(|error| error.contains("readynessProbe")),
        "{errors:?}"
    );
}

#[test]
fn kustomize_takes_everything_but_what_is_made_by_hand() {
    let manifests = Manifests::read();
    let listed = list(manifests.of("Kustomization"), "/resources");
    let listed: BTreeSet<&str> = listed.iter().map(|file| text(file, "")).collect();
    let by_hand = ["kustomization.yaml", "secret.example.yaml", "init-job.yaml"];
    let shipped: BTreeSet<&str> = manifests.0.iter().map(|document| document.file.as_str()).collect();
    let wanted = shipped.iter().copied().filter(|file| !by_hand.contains(file)).collect();
    assert_eq!(listed, wanted);
    let image = &manifests.of("Kustomization")["images"][0];
    assert_eq!(image["newTag"], env!("CARGO_PKG_VERSION"));
    let job = &manifests.of("Job")["spec"]["template"]["spec"]["containers"][0];
    for container in [manifests.container(), job] {
        let wanted = format!("{}:{}", text(image, "/name"), env!("CARGO_PKG_VERSION"));
        assert_eq!(text(container, "/image"), wanted);
    }
    for document in &manifests.0 {
        if !["Namespace", "Kustomization"].contains(&text(&document.content, "/kind")) {
            let namespace = text(&document.content, "/metadata/namespace");
            assert_eq!(
                namespace,
                text(manifests.of("Namespace"), "/metadata/name"),
                "{}",
                document.file
            );
        }
    }
}

#[test]
fn every_variable_is_a_setting_and_the_program_takes_its_value() {
    let manifests = Manifests::read();
    let known: BTreeSet<&str> = settings().flat_map(|setting| setting.variables()).collect();
    for (name, _) in manifests.variables() {
        assert!(known.contains(name.as_str()), "{name} is no setting");
    }
    manifests.config();
    let secrets: BTreeSet<&str> = settings()
        .filter(|setting| setting.secret)
        .map(|setting| setting.name)
        .collect();
    let data = manifests.of("ConfigMap")["data"].as_object().expect("a map");
    for name in data.keys() {
        assert!(
            !secrets.contains(name.as_str()),
            "{name} is a secret, and stands in the ConfigMap"
        );
    }
}

#[test]
fn ports_agree_from_the_ingress_to_the_program() {
    let manifests = Manifests::read();
    let config = manifests.config();
    let ports: Vec<(&str, u64)> = list(manifests.container(), "/ports")
        .iter()
        .map(|port| (text(port, "/name"), number(port, "/containerPort")))
        .collect();
    let admin = config.admin_port.expect("metrics are on a port of their own");
    assert_eq!(ports, [("http", u64::from(config.port)), ("admin", u64::from(admin))]);

    let service = manifests.of("Service");
    assert!(manifests.selects(&service["spec"]["selector"]));
    let served: Vec<(&str, &str)> = list(service, "/spec/ports")
        .iter()
        .map(|port| (text(port, "/name"), text(port, "/targetPort")))
        .collect();
    assert_eq!(served, [("http", "http"), ("admin", "admin")]);

    let ingress = manifests.of("Ingress");
    let paths = list(ingress, "/spec/rules/0/http/paths");
    assert_eq!(paths.len(), 1, "Socket.IO and nothing else");
    assert_eq!(text(&paths[0], "/path"), "/socket.io");
    assert_eq!(
        text(&paths[0], "/backend/service/name"),
        text(service, "/metadata/name")
    );
    assert_eq!(text(&paths[0], "/backend/service/port/name"), "http");

    let monitor = manifests.of("ServiceMonitor");
    assert!(is_part_of(
        &monitor["spec"]["selector"]["matchLabels"],
        &service["metadata"]["labels"]
    ));
    assert_eq!(text(monitor, "/spec/endpoints/0/port"), "admin");
    assert_eq!(text(monitor, "/spec/endpoints/0/path"), config.metrics_path);
}

#[test]
fn the_ingress_waits_longer_than_a_silent_client_may_be() {
    let manifests = Manifests::read();
    let config = manifests.config();
    let annotations = &manifests.of("Ingress")["metadata"]["annotations"];
    let of = |name: &str| {
        let value = annotations[format!("nginx.ingress.kubernetes.io/{name}")].as_str();
        value.unwrap_or_else(|| panic!("no {name}")).to_owned()
    };
    let seconds: u64 = of("proxy-read-timeout").parse().expect("seconds");
    assert!(seconds > (config.ping_interval + config.ping_timeout).as_secs());
    assert_eq!(of("proxy-body-size"), "1m");
    assert!(config.max_payload <= 1 << 20);
    assert!(!of("proxy-next-upstream").contains("non_idempotent"));
    assert_eq!(of("upstream-hash-by"), "$remote_addr");
}

#[test]
fn probes_ask_what_they_are_for_and_the_grace_is_longer_than_the_drain() {
    let manifests = Manifests::read();
    let container = manifests.container();
    for (probe, path) in [
        ("startupProbe", "/livez"),
        ("livenessProbe", "/livez"),
        ("readinessProbe", "/readyz"),
    ] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(
            (&asked["path"], &asked["port"]),
            (&json!(path), &json!("admin")),
            "{probe}"
        );
        // A route waits for Redis for two seconds.
        assert!(number(container, &format!("/{probe}/timeoutSeconds")) > 2, "{probe}");
    }
    let before = number(container, "/lifecycle/preStop/sleep/seconds");
    let grace = number(manifests.pod(), "/spec/terminationGracePeriodSeconds");
    assert!(grace > before + manifests.config().drain_timeout.as_secs());
}

#[test]
fn pods_may_do_nothing_that_they_need_not() {
    let manifests = Manifests::read();
    for template in [manifests.pod(), &manifests.of("Job")["spec"]["template"]] {
        let pod = &template["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        // A service named `realtime` would set REALTIME_PORT to an address.
        assert_eq!(pod["enableServiceLinks"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert!(number(pod, "/securityContext/runAsUser") > 0);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let context = &pod["containers"][0]["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert!(pod["containers"][0]["resources"]["limits"]["memory"].is_string());
        assert_eq!(
            text(pod, "/serviceAccountName"),
            text(manifests.of("ServiceAccount"), "/metadata/name")
        );
    }
}

#[test]
fn whatever_selects_pods_selects_the_gateways() {
    let manifests = Manifests::read();
    let deployment = manifests.of("Deployment");
    for labels in [
        &deployment["spec"]["selector"]["matchLabels"],
        &manifests.of("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &manifests.of("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ] {
        assert!(manifests.selects(labels), "{labels}");
    }
    for spread in list(manifests.pod(), "/spec/topologySpreadConstraints") {
        assert!(manifests.selects(&spread["labelSelector"]["matchLabels"]), "{spread}");
    }
    // The job of the schema is no gateway: no client is sent to it.
    let job = &manifests.of("Job")["spec"]["template"]["metadata"]["labels"];
    assert!(!is_part_of(&manifests.of("Service")["spec"]["selector"], job));

    let autoscaler = manifests.of("HorizontalPodAutoscaler");
    assert_eq!(
        text(autoscaler, "/spec/scaleTargetRef/name"),
        text(deployment, "/metadata/name")
    );
    assert!(number(autoscaler, "/spec/minReplicas") >= 3);
    assert!(
        deployment["spec"].get("replicas").is_none(),
        "each apply would undo the autoscaler"
    );
    let full: u64 = text(autoscaler, "/spec/metrics/0/pods/target/averageValue")
        .parse()
        .expect("a number");
    // When one of three goes, the two others have room for its clients.
    assert!(full * 3 / 2 <= manifests.config().max_connections);
}

#[test]
fn the_network_lets_in_and_out_what_is_needed_and_no_more() {
    let manifests = Manifests::read();
    let policy = manifests.of("NetworkPolicy");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    let named = |direction: &str| -> BTreeSet<String> {
        let rules = list(policy, &format!("/spec/{direction}"));
        let ports = rules.iter().flat_map(|rule| list(rule, "/ports"));
        ports.map(|port| port["port"].to_string()).collect()
    };
    assert_eq!(
        named("ingress"),
        BTreeSet::from(["\"http\"".to_owned(), "\"admin\"".to_owned()])
    );
    assert_eq!(
        named("egress"),
        BTreeSet::from(["53".to_owned(), "6379".to_owned(), "5432".to_owned()])
    );
    for direction in ["ingress", "egress"] {
        let peers = if direction == "ingress" { "/from" } else { "/to" };
        for rule in list(policy, &format!("/spec/{direction}")) {
            assert!(!list(rule, peers).is_empty(), "a rule of {direction} is for everybody");
        }
    }
}
