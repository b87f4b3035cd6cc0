//! placeholder
use crate::client::Target;
pub fn engine_echo() -> Target { crate::oracle::engine_echo() }
pub fn socket_echo() -> Target { crate::oracle::socket_echo() }
