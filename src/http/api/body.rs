//! What a request brings: its body as JSON, and the ids in its path. What is wrong is named by its field. Not here: the
//! parameters behind the `?` (`parameters`).

use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use super::Problem;
use crate::domain::moderation::REASON_MAX_BYTES;
use crate::types::{InvalidId, RoomName, TokenId, UserId};

/// A body that is one JSON value. None at all is an object without fields.
pub(super) struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = says_json(request.headers());
        // The bound stands before all routes: what comes here is within it.
        let bytes = Bytes::from_request(request, state).await;
        let bytes = bytes.map_err(|_| Problem::invalid("body", "cannot be read"))?;
        match &bytes[..] {
            b"" => read(b"{}"),
            _ if !is_json => Err(Problem::NoJson),
            bytes => read(bytes),
        }
    }
}

fn says_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|said| said.to_str().ok());
    let kind = said.and_then(|said| said.split(';').next()).map(str::trim);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

/// Longest rule that is shown, in characters: it may quote what came.
const RULE_MAX: usize = 200;

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Json<T>, Problem> {
    // A list would do, too: of the fields in their order.
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Problem::invalid("body", "must be one JSON object"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner().to_string();
        // A field that is missing, or that nobody takes, is named by what says so.
        let (rule, named) = match cause.split('`').collect::<Vec<_>>()[..] {
            ["missing field ", name, ..] => ("is missing".to_owned(), Some(name)),
            ["unknown field ", name, ..] => ("is no field of this request".to_owned(), Some(name)),
            _ => (cause, None),
        };
        let field = match (path.as_str(), named) {
            ("." | "?", None) => "body".to_owned(),
            ("." | "?", Some(name)) => name.to_owned(),
            (path, Some(name)) if path.ends_with(name) => path.to_owned(),
            (path, Some(name)) => format!("{path}.{name}"),
            (path, None) => path.to_owned(),
        };
        Problem::invalid(shown(&field), shown(&rule))
    })?;
    reader
        .end()
        .map_err(|_| Problem::invalid("body", "must be one JSON object"))?;
    Ok(Json(value))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(RULE_MAX).collect()
}

/// An id in the path, and what a problem calls it.
pub(super) trait InPath: FromStr<Err = InvalidId> + Send {
    const FIELD: &'static str;
}

impl InPath for RoomName {
    const FIELD: &'static str = "name";
}

impl InPath for UserId {
    const FIELD: &'static str = "user";
}

impl InPath for TokenId {
    const FIELD: &'static str = "token";
}

/// The one id in the path.
pub(super) struct Named<T>(pub T);

impl<S: Send + Sync, T: InPath> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // Only a path that is no UTF-8 is rejected.
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|_| Problem::NoRoute)?;
        parse(&id).map(Self)
    }
}

/// A room's name and a user's id in the path.
pub(super) struct OnUser(pub RoomName, pub UserId);

impl<S: Send + Sync> FromRequestParts<S> for OnUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        let Path((room, user)) = path.map_err(|_| Problem::NoRoute)?;
        Ok(Self(parse(&room)?, parse(&user)?))
    }
}

fn parse<T: InPath>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|rule| of_id(T::FIELD, rule))
}

/// What is wrong with an id.
pub(super) fn of_id(field: &str, rule: InvalidId) -> Problem {
    Problem::invalid(field, rule)
}

/// Why somebody acts, within its bound.
pub(super) fn reason(text: &str) -> Result<String, String> {
    match text.len() {
        0..=REASON_MAX_BYTES => Ok(text.to_owned()),
        _ => Err(format!("must be at most {REASON_MAX_BYTES} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::value::RawValue;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        events: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        payload: Box<RawValue>,
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            ("", "events"),
            ("{", "body"),
            ("[1]", "body"),
            ("{\"events\": 1}", "events"),
            ("{\"events\": [{}]}", "events[0].payload"),
            ("{\"events\": [], \"evnts\": []}", "evnts"),
            ("{\"events\": []} {}", "body"),
        ] {
            let bytes = if body.is_empty() { b"{}" } else { body.as_bytes() };
            match read::<Outer>(bytes) {
                Err(Problem::Invalid { field: named, .. }) => assert_eq!(named, field, "{body}"),
                other => panic!("{body}: {:?}", other.map(|Json(read)| read)),
            }
        }
        let Json(read) = read::<Outer>(b"{\"events\": [{\"payload\": {\"a\": 1.50}}]}").unwrap();
        assert_eq!(read.events[0].payload.get(), "{\"a\": 1.50}");
    }
}
