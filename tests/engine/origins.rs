//! Who may talk to the engine from a browser: `Origin`, the CORS headers, the preflight. Not here: anything else of HTTP.

use nself_realtime::engine::{Origins, RefusalCause};

use crate::client::Target;
use crate::ours;
use crate::wire::{Response, WEBSOCKET_HEADERS, Wire, http_request};

const GOOD: &str = "https://app.example.org";
const BAD: &str = "https://evil.example.org";

async fn ask(target: Target, method: &str, transport: &str, headers: &str) -> Response {
    let mut peer = Wire::connect(target).await;
    let query = format!("EIO=4&transport={transport}");
    peer.write(&http_request(target, method, &query, headers, b"")).await;
    peer.response().await.expect("an answer")
}

/// The status of a polling handshake and of a WebSocket handshake from this origin.
async fn handshakes(target: Target, origin: Option<&str>) -> (u16, u16) {
    let origin = origin.map(|origin| format!("origin: {origin}\r\n")).unwrap_or_default();
    let polling = ask(target, "GET", "polling", &origin).await;
    let websocket = ask(target, "GET", "websocket", &format!("{origin}{WEBSOCKET_HEADERS}")).await;
    (polling.status, websocket.status)
}

fn header(response: &Response, name: &str) -> Option<String> {
    let head = response.head.lines().filter_map(|line| line.split_once(": "));
    head.into_iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.to_owned())
}

#[tokio::test]
async fn with_a_list_only_its_origins_and_programs_pass() {
    let server = ours::engine_echo_with(|settings| settings.origins = Origins::List(vec![GOOD.into()]));
    assert_eq!(handshakes(server.target, Some(GOOD)).await, (200, 101));
    assert_eq!(handshakes(server.target, None).await, (200, 101));
    assert_eq!(handshakes(server.target, Some(BAD)).await, (403, 403));
    assert_eq!(handshakes(server.target, Some("null")).await, (403, 403));
    assert_eq!(
        handshakes(server.target, Some(&format!("{GOOD}.evil.org"))).await,
        (403, 403)
    );
    let refusals = server.counters().totals().refusals[RefusalCause::Origin.index()];
    assert_eq!(refusals, 6, "each is counted");
}

#[tokio::test]
async fn with_same_origin_only_its_own_pages_pass() {
    let server = ours::engine_echo_with(|settings| settings.origins = Origins::SameOrigin);
    let own = format!("http://{}", server.target.addr);
    assert_eq!(handshakes(server.target, Some(&own)).await, (200, 101));
    assert_eq!(handshakes(server.target, None).await, (200, 101));
    assert_eq!(handshakes(server.target, Some(GOOD)).await, (403, 403));
}

#[tokio::test]
async fn a_listed_origin_gets_headers_that_allow_credentials() {
    let server = ours::engine_echo_with(|settings| settings.origins = Origins::List(vec![GOOD.into()]));
    let answer = ask(server.target, "GET", "polling", &format!("origin: {GOOD}\r\n")).await;
    assert_eq!(header(&answer, "access-control-allow-origin").as_deref(), Some(GOOD));
    assert_eq!(
        header(&answer, "access-control-allow-credentials").as_deref(),
        Some("true")
    );
    let vary = header(&answer, "vary").unwrap_or_default().to_ascii_lowercase();
    assert!(
        vary.contains("origin"),
        "a cache must not give it to others: {:?}",
        answer.head
    );
}

#[tokio::test]
async fn any_origin_gets_no_credentials() {
    let answer = ask(ours::engine_echo(), "GET", "polling", &format!("origin: {BAD}\r\n")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(header(&answer, "access-control-allow-origin").as_deref(), Some("*"));
    assert_eq!(header(&answer, "access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_preflight_is_answered_without_a_session() {
    let server = ours::engine_echo_with(|settings| settings.origins = Origins::List(vec![GOOD.into()]));
    let asked = "access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n";
    let answer = ask(
        server.target,
        "OPTIONS",
        "polling",
        &format!("origin: {GOOD}\r\n{asked}"),
    )
    .await;
    assert!([200, 204].contains(&answer.status), "{answer:?}");
    assert_eq!(header(&answer, "access-control-allow-origin").as_deref(), Some(GOOD));
    assert!(
        header(&answer, "access-control-allow-methods")
            .unwrap_or_default()
            .contains("POST")
    );
    assert!(
        header(&answer, "access-control-allow-headers")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .contains("content-type")
    );
    let refused = ask(
        server.target,
        "OPTIONS",
        "polling",
        &format!("origin: {BAD}\r\n{asked}"),
    )
    .await;
    assert_eq!(header(&refused, "access-control-allow-origin"), None);
    assert_eq!(server.counters().totals().handshakes, 0);
}
