//! The rules: what happens when somebody connects, joins, types, speaks, leaves, or is no more. Each function returns an
//! outcome; only the gateway turns outcomes into events. Not here: wire formats, key names, SQL.

pub mod connections;
pub mod doctor;
pub mod endings;
pub mod explain;
pub mod identity;
pub mod journal;
pub mod limits;
pub mod messages;
pub mod moderation;
pub mod names;
pub mod offset;
pub mod presence;
pub mod restore;
pub mod revocations;
pub mod rooms;
pub mod sessions;
pub mod sink;
pub mod stats;
pub mod typing;
