//! `/api/presence`: how many users are, as clients are told it.

use std::sync::Arc;

use axum::extract::{RawQuery, State as Extract};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::body::{Json, of_id};
use super::problem::Problems;
use super::{Parameters, Problem, State};
use crate::domain::presence;
use crate::types::UserId;

/// Users of one question.
const USERS_MAX: usize = 200;

/// Whose presence is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Question {
    #[schema(max_items = 200, value_type = Vec<super::schema::User>)]
    user_ids: Vec<String>,
}

/// How a user is.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the gateway writes")]
pub(super) struct Shown {
    user_id: String,
    /// online, away, busy or offline; whom nobody has heard of is offline.
    status: String,
    /// A text or `null`; with `REALTIME_CUSTOM_STATUS_SHAPE=object` an object of `text` and `emoji`.
    #[schema(value_type = Object)]
    custom_status: Value,
    /// Where the custom status is a text.
    #[schema(required = false)]
    custom_emoji: Option<String>,
    /// When the user was last here; of those who are offline.
    #[schema(required = false, nullable = false)]
    last_seen: Option<String>,
}

/// How users are, in the order asked.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Presences {
    #[schema(value_type = Vec<Shown>)]
    presences: Vec<Value>,
}

/// Says how users are
#[utoipa::path(post, path = "/presence", tag = "users", request_body = Question,
    responses((status = 200, body = Presences), Problems))]
pub(super) async fn ask(
    Extract(state): Extract<Arc<State>>,
    Json(question): Json<Question>,
) -> Result<axum::Json<Presences>, Problem> {
    let ids: Vec<&str> = question.user_ids.iter().map(String::as_str).collect();
    answer(&state, &ids).await
}

/// Says how users are
#[utoipa::path(get, path = "/presence", tag = "users",
    params(("userIds" = String, Query, description = "ids, separated by commas; those that have one are asked for by POST")),
    responses((status = 200, body = Presences), Problems))]
pub(super) async fn look(
    Extract(state): Extract<Arc<State>>,
    RawQuery(query): RawQuery,
) -> Result<axum::Json<Presences>, Problem> {
    let mut parameters = Parameters::of(query.as_deref())?;
    let ids = parameters.need("userIds", |text| Ok::<_, &str>(text.to_owned()))?;
    parameters.finish()?;
    answer(&state, &ids.split(',').collect::<Vec<_>>()).await
}

async fn answer(state: &State, ids: &[&str]) -> Result<axum::Json<Presences>, Problem> {
    if ids.len() > USERS_MAX {
        return Err(Problem::invalid("userIds", format!("must be at most {USERS_MAX}")));
    }
    let parse =
        |(index, id): (usize, &&str)| UserId::parse(id).map_err(|rule| of_id(&format!("userIds[{index}]"), rule));
    let users = ids.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
    let found = presence::look_up(&state.hot, &users).await?;
    let shown = users.iter().zip(&found);
    let presences = shown.map(|(user, (presence, _))| (state.words.presence)(user, presence));
    Ok(axum::Json(Presences {
        presences: presences.collect(),
    }))
}
