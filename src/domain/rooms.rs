//! (The lead's.)

use crate::hot::{Hot, HotError};
use crate::types::{RoomName, RoomType, Visibility};

pub struct NewRoom {
    pub name: RoomName,
    pub kind: RoomType,
    pub visibility: Visibility,
    pub max_members: Option<u32>,
}

pub struct Room {
    pub name: RoomName,
    pub kind: RoomType,
    pub visibility: Visibility,
    pub max_members: Option<u32>,
    pub created_ms: i64,
    pub members: u64,
}

pub enum Created {
    New(Room),
    Existing(Room),
}

pub async fn create(_hot: &Hot, _room: &NewRoom) -> Result<Created, HotError> {
    Err(HotError)
}

pub async fn list(_hot: &Hot) -> Result<Vec<Room>, HotError> {
    Err(HotError)
}
