//! Why a request was turned down, as it is counted. Not here: how it is answered (`answers`), and why a session that there
//! was has ended (`close`).

use super::answers::Problem;

/// Why a request got no session, or nothing of the session that it named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalCause {
    /// The application did not let it in, and knows why.
    Application,
    /// There are as many HTTP connections as there may be.
    HttpConnections,
    /// A page of another site.
    Origin,
    /// The server ends.
    Stopping,
    /// A session that has ended, or is another server's ("Session ID unknown").
    UnknownSession,
    UnknownTransport,
    UnsupportedVersion,
    BadMethod,
    BadRequest,
    /// A body over `max_payload`.
    TooLarge,
    /// A body that did not come in time.
    BodyTimeout,
}

impl RefusalCause {
    /// Every cause, in the order of [`RefusalCause::index`].
    pub const ALL: [Self; 11] = [
        Self::Application,
        Self::HttpConnections,
        Self::Origin,
        Self::Stopping,
        Self::UnknownSession,
        Self::UnknownTransport,
        Self::UnsupportedVersion,
        Self::BadMethod,
        Self::BadRequest,
        Self::TooLarge,
        Self::BodyTimeout,
    ];

    /// The stable word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::HttpConnections => "http_connections",
            Self::Origin => "origin",
            Self::Stopping => "stopping",
            Self::UnknownSession => "unknown_session",
            Self::UnknownTransport => "unknown_transport",
            Self::UnsupportedVersion => "unsupported_version",
            Self::BadMethod => "bad_method",
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::BodyTimeout => "body_timeout",
        }
    }

    /// Position in [`RefusalCause::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl From<Problem> for RefusalCause {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::UnknownTransport => Self::UnknownTransport,
            Problem::UnknownSid => Self::UnknownSession,
            Problem::BadHandshakeMethod => Self::BadMethod,
            Problem::BadRequest => Self::BadRequest,
            Problem::Forbidden => Self::Origin,
            Problem::UnsupportedVersion => Self::UnsupportedVersion,
            Problem::TooLarge => Self::TooLarge,
            Problem::Timeout => Self::BodyTimeout,
            Problem::Stopping => Self::Stopping,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_finds_its_cause() {
        for cause in RefusalCause::ALL {
            assert_eq!(RefusalCause::ALL[cause.index()], cause);
        }
    }
}
