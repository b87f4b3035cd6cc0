//! What several requests and answers are made of, as their description says it, and how dates and ends are written.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::moderation::{Receipt, Term};

/// A room's name: 1 to 255 bytes, no control characters.
#[derive(ToSchema)]
#[schema(as = RoomName, min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$", example = "channel:42")]
#[expect(dead_code, reason = "describes a text that is parsed by hand")]
pub(super) struct Room(String);

/// A user's id: 1 to 255 bytes, no control characters.
#[derive(ToSchema)]
#[schema(as = UserId, min_length = 1, max_length = 255, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$", example = "ann")]
#[expect(dead_code, reason = "describes a text that is parsed by hand")]
pub(super) struct User(String);

/// Any JSON but a text.
pub(super) struct Payload;

impl PartialSchema for Payload {
    fn schema() -> RefOr<Schema> {
        let kinds = [Type::Object, Type::Array, Type::Number, Type::Boolean, Type::Null];
        let schema = ObjectBuilder::new().schema_type(SchemaType::from_iter(kinds));
        schema.description(Some("Any JSON but a text")).into()
    }
}

impl ToSchema for Payload {}

/// Where an act takes effect: sockets on one node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reach {
    pub node: String,
    pub sockets: u64,
}

/// An act that was carried out.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    /// Where it takes effect, by node.
    pub nodes: Vec<Reach>,
    /// `false`: Redis has it, and Postgres does not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub durable: Option<bool>,
}

impl Done {
    pub fn of(receipt: &Receipt, durable: Option<bool>) -> Self {
        let reach = receipt.reach.iter();
        let nodes = reach.map(|reach| Reach {
            node: reach.node.to_string(),
            sockets: reach.sockets,
        });
        Self {
            nodes: nodes.collect(),
            durable,
        }
    }
}

/// ISO-8601 UTC with milliseconds, of Unix ms.
pub(super) fn date(unix_ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(unix_ms).unwrap_or_default())
}

/// The end of a ban or a mute; `None` for one that holds for ever.
pub(super) fn end(term: Term) -> Option<String> {
    match term {
        Term::Forever => None,
        Term::Until(ms) => Some(date(ms)),
    }
}

/// An end as it is asked for: an ISO-8601 date behind 1970.
pub(super) fn term(until: Option<&str>) -> Result<Term, super::Problem> {
    let Some(text) = until else { return Ok(Term::Forever) };
    let at = text.parse::<Timestamp>().map(Timestamp::as_millisecond);
    match at {
        Ok(ms) if ms > 0 => Ok(Term::Until(ms)),
        Ok(_) => Err(super::Problem::invalid("until", "must be in the future")),
        Err(_) => Err(super::Problem::invalid("until", "must be an ISO-8601 date")),
    }
}
