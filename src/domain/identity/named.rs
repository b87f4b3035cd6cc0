//! The token `user:<id>`, which proves nothing: what nchat's client shows today. Not here: whether anybody believes it.

use super::{Identity, IdentityError, Issued, user};

const PREFIX: &str = "user:";

/// The user that such a token names; `None`: the token is another, since none that is signed holds a colon.
pub fn named(token: &str) -> Option<Result<Identity, IdentityError>> {
    let id = token.strip_prefix(PREFIX)?;
    Some(user(id).map(|user| Identity {
        user,
        session: None,
        expires_at: None,
        issued: Issued::default(),
    }))
}
