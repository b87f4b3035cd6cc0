//! The rules. (The lead's module.)

pub mod rooms;
