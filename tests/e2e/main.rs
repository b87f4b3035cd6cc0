//! The gateway from outside: its own binary as processes over a real Redis, spoken to by the stock clients (JavaScript,
//! Python) and, for what those cannot do, by a bare one. Nothing here looks inside, except at Redis where a test says so.

#[path = "../support/mod.rs"]
mod support;

mod api_broadcast;
mod api_rooms;
mod api_users;
mod away;
mod bad_input;
mod client_module;
mod complaints;
mod complaints_of_messages;
mod compression;
mod dashboard;
mod defects;
mod documents;
mod drain;
mod drain_command;
mod drain_deadline;
mod figures;
mod health;
mod key_sets;
mod limits;
mod lost_messages;
mod metrics;
mod moderation;
mod nchat;
mod node_death;
mod order;
mod redis_outage;
mod redis_topologies;
mod revocations;
mod security;
mod settings;
mod stock_clients;
mod storm;
mod systemd;
