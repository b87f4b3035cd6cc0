//! The hot state below the gateway: every script, the bus and the connection, on real Redis servers that the tests start.
//! Not here: what clients see of it (`tests/e2e`).

#[path = "../support/mod.rs"]
mod support;

mod ear;
mod stage;

mod contract;

mod admission;
mod again;
mod archive;
mod away;
mod batches;
mod broadcasts;
mod bus;
mod cluster;
mod cluster_commands;
mod cluster_masters;
mod connections;
mod dismissal;
mod doctor;
mod explain;
mod flush;
mod healing;
mod history;
mod invitations;
mod limits;
mod link;
mod lives;
mod lives_model;
mod lives_world;
mod messages;
mod model;
mod moderation;
mod names;
mod nodes;
mod outbox;
mod presence;
mod put_back;
mod revocations;
mod rooms;
mod sentinel;
mod sessions;
mod stats;
mod status;
mod sweep;
mod typing;
