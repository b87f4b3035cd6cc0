//! The administration of a node over HTTP, with the key that the tests' nodes have.

use serde_json::Value;

use super::node::Node;

pub const API_KEY: &str = "a key of the administration";

/// What `/api` answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    /// `null` where it was no JSON.
    pub body: Value,
}

impl Answer {
    /// The body of an answer that is no problem.
    #[track_caller]
    pub fn done(self) -> Value {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.body);
        self.body
    }

    /// Asserts that it is a problem document of this status and code, and names `field` where there is one to name.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str, field: Option<&str>) {
        let body = &self.body;
        assert_eq!((self.status, &body["code"]), (status, &code.into()), "{body}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body.get("field").and_then(Value::as_str), field, "{body}");
        if let Some(field) = field {
            let detail = body["detail"].as_str().expect("a text");
            assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
        }
    }
}

/// Asks a node, with a body where that is not `null`.
pub async fn ask(node: &Node, method: &str, path: &str, body: Value) -> Answer {
    let text = (!body.is_null()).then(|| body.to_string());
    ask_at(node.port(), method, path, Some(API_KEY), text).await
}

/// The same at any port, with any key or none, and a body as it is written.
pub async fn ask_at(port: u16, method: &str, path: &str, key: Option<&str>, body: Option<String>) -> Answer {
    let client = reqwest::Client::builder()
        .timeout(std::time::Duration::from_secs(20))
        .pool_max_idle_per_host(0) // a kept connection would belong to the runtime of one test
        .build()
        .expect("a plain client");
    let method = method.parse().expect("a method");
    let mut request = client.request(method, format!("http://127.0.0.1:{port}{path}"));
    if let Some(key) = key {
        request = request.header("X-API-Key", key);
    }
    if let Some(body) = body {
        request = request.header("Content-Type", "application/json").body(body);
    }
    let response = request.send().await.expect("the node answers");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("the answer comes to its end");
    Answer {
        status,
        headers,
        body: serde_json::from_str(&text).unwrap_or_default(),
    }
}
