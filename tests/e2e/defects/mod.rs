//! One named regression test for each defect of the plugin that this gateway replaces, under its number there: what went
//! wrong, stated as what must happen instead.

mod access;
mod connections;
mod hot_state;
mod presence;
mod process;
mod typing;
