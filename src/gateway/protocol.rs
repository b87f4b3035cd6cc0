//! The wire contract's words: event names, error codes, the shape of an ack. Not here: reading payloads (`payload`),
//! writing events (`outgoing`).

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use crate::types::RoomName;

/// What `connected` says.
pub const PROTOCOL_VERSION: &str = "1.0";

/// Client → server.
pub mod incoming {
    pub const ROOM_JOIN: &str = "room:join";
    pub const ROOM_LEAVE: &str = "room:leave";
    pub const ROOM_MEMBERS: &str = "room:members";
    pub const ROOM_KICK: &str = "room:kick";
    pub const ROOM_BAN: &str = "room:ban";
    pub const ROOM_UNBAN: &str = "room:unban";
    pub const ROOM_MUTE: &str = "room:mute";
    pub const ROOM_UNMUTE: &str = "room:unmute";
    pub const ROOM_ROLE: &str = "room:role";
    pub const MESSAGE_SEND: &str = "message:send";
    pub const MESSAGE_HISTORY: &str = "message:history";
    pub const TYPING_START: &str = "typing:start";
    pub const TYPING_STOP: &str = "typing:stop";
    pub const PRESENCE_UPDATE: &str = "presence:update";
    pub const PRESENCE_SUBSCRIBE: &str = "presence:subscribe";
    pub const PRESENCE_UNSUBSCRIBE: &str = "presence:unsubscribe";
    pub const PRESENCE_GET: &str = "presence:get";
    pub const PING: &str = "ping";
    pub const PONG: &str = "pong";
    pub const AUTH_REFRESH: &str = "auth:refresh";

    /// Every event that is understood; metrics count the others under one name.
    pub const ALL: &[&str] = &[
        ROOM_JOIN,
        ROOM_LEAVE,
        ROOM_MEMBERS,
        ROOM_KICK,
        ROOM_BAN,
        ROOM_UNBAN,
        ROOM_MUTE,
        ROOM_UNMUTE,
        ROOM_ROLE,
        MESSAGE_SEND,
        MESSAGE_HISTORY,
        TYPING_START,
        TYPING_STOP,
        PRESENCE_UPDATE,
        PRESENCE_SUBSCRIBE,
        PRESENCE_UNSUBSCRIBE,
        PRESENCE_GET,
        PING,
        PONG,
        AUTH_REFRESH,
    ];
}

/// Server → client.
pub mod outgoing {
    pub const CONNECTED: &str = "connected";
    pub const AUTHENTICATED: &str = "authenticated";
    pub const AUTH_ERROR: &str = "auth:error";
    pub const USER_JOINED: &str = "user:joined";
    pub const USER_LEFT: &str = "user:left";
    pub const ROOM_COUNT: &str = "room:count";
    pub const ROOM_RESET: &str = "room:reset";
    pub const MESSAGE_NEW: &str = "message:new";
    pub const TYPING_EVENT: &str = "typing:event";
    pub const PRESENCE_CHANGED: &str = "presence:changed";
    pub const PRESENCE_BULK: &str = "presence:bulk";
    pub const PONG: &str = "pong";
    pub const ERROR: &str = "error";
    pub const SERVER_DRAINING: &str = "server:draining";

    /// Everything that the gateway itself says.
    pub const ALL: &[&str] = &[
        CONNECTED,
        AUTHENTICATED,
        AUTH_ERROR,
        USER_JOINED,
        USER_LEFT,
        ROOM_COUNT,
        ROOM_RESET,
        MESSAGE_NEW,
        TYPING_EVENT,
        PRESENCE_CHANGED,
        PRESENCE_BULK,
        PONG,
        ERROR,
        SERVER_DRAINING,
    ];
}

/// Why something was not done; stable words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    InvalidPayload,
    UnknownEvent,
    Unauthenticated,
    Forbidden,
    RoomNotFound,
    RoomFull,
    NotAMember,
    Banned,
    Muted,
    TooManyRooms,
    TooLarge,
    RateLimited,
    FeatureDisabled,
    Unavailable,
    InternalError,
}

impl ErrorCode {
    pub const ALL: [Self; 15] = [
        Self::InvalidPayload,
        Self::UnknownEvent,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::RoomNotFound,
        Self::RoomFull,
        Self::NotAMember,
        Self::Banned,
        Self::Muted,
        Self::TooManyRooms,
        Self::TooLarge,
        Self::RateLimited,
        Self::FeatureDisabled,
        Self::Unavailable,
        Self::InternalError,
    ];

    /// Every code, as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidPayload => "INVALID_PAYLOAD",
            Self::UnknownEvent => "UNKNOWN_EVENT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::RoomNotFound => "ROOM_NOT_FOUND",
            Self::RoomFull => "ROOM_FULL",
            Self::NotAMember => "NOT_A_MEMBER",
            Self::Banned => "BANNED",
            Self::Muted => "MUTED",
            Self::TooManyRooms => "TOO_MANY_ROOMS",
            Self::TooLarge => "TOO_LARGE",
            Self::RateLimited => "RATE_LIMITED",
            Self::FeatureDisabled => "FEATURE_DISABLED",
            Self::Unavailable => "UNAVAILABLE",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }
}

/// An error as a client hears it: by ack, or as the event `error`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    pub code: ErrorCode,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            retry_after_ms: None,
        }
    }

    /// A payload that breaks the contract, naming the field.
    pub fn field(field: &str, rule: impl std::fmt::Display) -> Self {
        Self {
            details: Some(json!({ "field": field })),
            ..Self::new(ErrorCode::InvalidPayload, format!("{field} {rule}"))
        }
    }

    /// A field that is well formed and over its limit.
    pub fn too_large(field: &str, max_bytes: usize) -> Self {
        Self {
            details: Some(json!({ "field": field, "maxBytes": max_bytes })),
            ..Self::new(
                ErrorCode::TooLarge,
                format!("{field} must be at most {max_bytes} bytes"),
            )
        }
    }

    /// The same, naming the room where no request does.
    pub fn of_room(mut self, room: &RoomName) -> Self {
        self.details = Some(json!({ "roomName": room.as_str() }));
        self
    }

    pub fn room_not_found() -> Self {
        Self::new(ErrorCode::RoomNotFound, "Room not found")
    }

    pub fn not_a_member() -> Self {
        Self::new(ErrorCode::NotAMember, "Join the room first")
    }

    /// `wait`: after this long it may be tried again.
    pub fn rate_limited(wait: Duration) -> Self {
        Self {
            // Rounded up: whoever waits so long finds that it has passed.
            retry_after_ms: Some(wait.as_micros().div_ceil(1_000) as u64),
            ..Self::new(ErrorCode::RateLimited, "Slow down")
        }
    }

    pub fn unavailable() -> Self {
        Self {
            retry_after_ms: Some(1_000),
            ..Self::new(ErrorCode::Unavailable, "Try again in a moment")
        }
    }

    /// The arguments of a failed ack: `[{success: false, error}]`.
    pub fn ack(&self) -> String {
        json!([{ "success": false, "error": self }]).to_string()
    }
}

/// What a handler has to say: the `data` of a successful ack as JSON text, or nothing.
pub type Reply = Result<Option<String>, Failure>;

/// The arguments of a successful ack: `[{success: true, data?}]`.
pub fn ack(data: Option<&str>) -> String {
    match data {
        Some(data) => format!(r#"[{{"success":true,"data":{data}}}]"#),
        None => r#"[{"success":true}]"#.to_owned(),
    }
}

/// The same of a change that Postgres does not have yet: `[{success: true, data?, details: {durable: false}}]`.
pub fn ack_not_durable(data: Option<&str>) -> String {
    let ack = ack(data);
    format!(
        r#"{},"details":{{"durable":false}}}}]"#,
        ack.strip_suffix("}]").unwrap_or(&ack)
    )
}
