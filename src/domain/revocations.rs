//! Whom a revocation means: a user's means every token that was issued until then, a token's means that token.

use super::identity::Issued;
pub use crate::hot::revocations::{Added, REVOCATIONS_MAX, Revocation, Subject, add as revoke, since};
use crate::hot::{Hot, HotError, revocations};
use crate::types::UserId;

/// Whether a revocation means this token. Of one that does not say when it was issued, nobody knows that it is newer.
pub fn means(revocation: &Revocation, user: &UserId, issued: &Issued) -> bool {
    match &revocation.subject {
        Subject::User(revoked) => revoked == user && is_older(issued, revocation.at_ms),
        Subject::Token(revoked) => issued.token.as_ref() == Some(revoked),
    }
}

/// Whether the token has been revoked, as far as Redis knows.
pub async fn is_revoked(hot: &Hot, user: &UserId, issued: &Issued) -> Result<bool, HotError> {
    let (user_ms, token_ms) = revocations::check(hot, user, issued.token.as_ref()).await?;
    Ok(token_ms.is_some() || user_ms.is_some_and(|at_ms| is_older(issued, at_ms)))
}

/// Tokens count in seconds, so one of the same second is older: a user who logs in again then logs in once more.
fn is_older(issued: &Issued, at_ms: i64) -> bool {
    issued.at_s.is_none_or(|issued_s| issued_s <= at_ms.div_euclid(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TokenId;

    #[test]
    fn a_user_s_revocation_means_what_was_issued_until_that_second() {
        let ann = UserId::parse("ann").expect("an id");
        let revocation = Revocation {
            subject: Subject::User(ann.clone()),
            at_ms: 1_700_000_000_500,
        };
        let issued = |at_s| Issued { at_s, token: None };
        assert!(means(&revocation, &ann, &issued(Some(1_699_999_999))));
        assert!(means(&revocation, &ann, &issued(Some(1_700_000_000))));
        assert!(!means(&revocation, &ann, &issued(Some(1_700_000_001))));
        assert!(means(&revocation, &ann, &issued(None)), "fail closed");
        assert!(!means(
            &revocation,
            &UserId::parse("bob").expect("an id"),
            &issued(None)
        ));
    }

    #[test]
    fn a_token_s_revocation_means_that_token() {
        let (ann, id) = (
            UserId::parse("ann").expect("an id"),
            TokenId::parse("t1").expect("an id"),
        );
        let subject = Subject::Token(id.clone());
        let revocation = Revocation { subject, at_ms: 1 };
        let issued = |token| Issued {
            at_s: Some(i64::MAX),
            token,
        };
        assert!(means(&revocation, &ann, &issued(Some(id))));
        assert!(!means(&revocation, &ann, &issued(TokenId::parse("t2").ok())));
        assert!(!means(&revocation, &ann, &issued(None)));
    }
}
