//! Why a connection ended. Each reason is a stable word for metrics and logs, and decides how the farewell looks.

use std::fmt;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a connection ended; the first reason stays.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseReason {
            $($(#[$doc])* $name,)*
        }

        impl CloseReason {
            /// Every reason, in the order of [`CloseReason::index`].
            pub const ALL: &'static [CloseReason] = &[$(CloseReason::$name,)*];

            /// The stable word for metrics and logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(CloseReason::$name => $text,)*
                }
            }
        }
    };
}

close_reasons! {
    /// The client sent a Socket.IO DISCONNECT.
    ClientDisconnect = "client_disconnect",
    /// The application ended the connection.
    ServerDisconnect = "server_disconnect",
    /// The client closed the transport, or its connection ended.
    TransportClose = "transport_close",
    /// Reading or writing failed.
    TransportError = "transport_error",
    /// A ping was not answered in time.
    PingTimeout = "ping_timeout",
    /// A packet or a body was over `max_payload`.
    PayloadTooLarge = "payload_too_large",
    /// What came is not the protocol.
    ParseError = "parse_error",
    /// Two polls, or two POSTs, at the same time.
    PollOverlap = "poll_overlap",
    /// The output queue was full.
    SlowConsumer = "slow_consumer",
    /// A write made no progress for `write_stall`.
    WriteStalled = "write_stalled",
    /// No Socket.IO CONNECT within `connect_timeout`.
    ConnectTimeout = "connect_timeout",
    /// The node drains: the client is to come back elsewhere.
    Draining = "draining",
    /// The server ends.
    Shutdown = "shutdown",
    /// The token ran out or was revoked.
    TokenExpired = "token_expired",
    /// Somebody was sent away.
    Kicked = "kicked",
    /// A service that the application cannot do without is away.
    Unavailable = "unavailable",
    /// A handler panicked.
    Internal = "internal",
}

impl CloseReason {
    /// Position in [`CloseReason::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether what waits in the output queue is still worth sending: the server decided, and the peer is well.
    pub(super) fn flushes(self) -> bool {
        matches!(
            self,
            CloseReason::ServerDisconnect
                | CloseReason::ParseError
                | CloseReason::PayloadTooLarge
                | CloseReason::ConnectTimeout
                | CloseReason::Draining
                | CloseReason::Shutdown
                | CloseReason::TokenExpired
                | CloseReason::Kicked
                | CloseReason::Unavailable
                | CloseReason::Internal
        )
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
