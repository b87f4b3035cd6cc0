//! `revoke`: makes the tokens of a user, or one token, good for nothing, on every node at once.

use clap::Args;
use serde_json::json;

use super::paint::tick;
use super::{Error, say};
use crate::domain::revocations::{self, Added, REVOCATIONS_MAX, Subject};
use crate::hot::Hot;
use crate::types::{TokenId, UserId};

#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct Options {
    /// Every token of this user that was issued so far
    #[arg(
        long,
        value_name = "USER",
        required_unless_present = "token",
        conflicts_with = "token"
    )]
    user: Option<UserId>,
    /// The one token with this id (jti)
    #[arg(long, value_name = "ID")]
    token: Option<TokenId>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(hot: &Hot, options: Options) -> Result<(), Error> {
    let (kind, id, subject) = match (options.user, options.token) {
        (Some(user), _) => ("user", user.to_string(), Subject::User(user)),
        (None, Some(token)) => ("token", token.to_string(), Subject::Token(token)),
        (None, None) => return Err(Error::Usage("--user or --token is needed".into())),
    };
    let Added::At(at_ms) = revocations::revoke(hot, &subject).await? else {
        return Err(Error::Failed(format!(
            "not revoked: {REVOCATIONS_MAX} revocations are kept already; a shorter REALTIME_REVOCATION_KEEP forgets some"
        )));
    };
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    if options.json {
        say!("{}", json!({ kind: id, "revokedAt": format!("{at:.3}") }));
    } else {
        say!("{} Revoked: {kind} {id}, at {at:.3}", tick());
    }
    Ok(())
}
