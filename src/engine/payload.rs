//! The packets of a polling client's POST, read from its body in whatever pieces it comes, up to the bounds. Not here: the
//! request around it (`http`), and what the packets mean (`polling`).

use std::collections::VecDeque;
use std::fmt::Debug;

use axum::body::HttpBody;
pub use engineioxide_core::Packet;
use engineioxide_core::{PacketParseError, ProtocolVersion, payload};
use futures_util::StreamExt as _;

/// Bounds of one body.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub bytes: usize,
    pub packets: usize,
}

/// Why nothing can follow the packets that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    TooLarge,
    /// No payload: a packet that is none, no packet at all, or a body that broke off.
    Malformed,
}

/// Appends packets as they come; those before a failure are kept.
pub async fn read<B>(body: B, limits: Limits, packets: &mut VecDeque<Packet>) -> Result<(), Unreadable>
where
    B: HttpBody<Error: Debug> + Unpin,
{
    let decoder = payload::decoder(body, None, ProtocolVersion::V4, limits.bytes as u64);
    let mut decoder = std::pin::pin!(decoder);
    while let Some(packet) = decoder.next().await {
        match packet {
            Ok(_) if packets.len() >= limits.packets => return Err(Unreadable::TooLarge),
            Ok(packet) => packets.push_back(packet),
            Err(PacketParseError::PayloadTooLarge { .. }) => return Err(Unreadable::TooLarge),
            Err(_) => return Err(Unreadable::Malformed),
        }
    }
    if packets.is_empty() {
        return Err(Unreadable::Malformed);
    }
    Ok(())
}
