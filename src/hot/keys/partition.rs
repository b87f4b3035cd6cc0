//! The partitions that users and rooms lie in, and their hash tags. Not here: the names of keys.

use crate::types::{RoomName, UserId};

/// Users and rooms are hashed onto this many partitions; part of the data's layout, never to be changed.
pub const PARTITIONS: usize = 64;

/// Hash tags whose slots lie in the middles of 64 equal bands of the 16,384 slots, so that masters share them evenly.
pub(super) const TAGS: [u16; PARTITIONS] = [
    464, 977, 3017, 2113, 574, 867, 3107, 2003, 184, 2180, 3237, 2333, 754, 2090, 3327, 2223, 3124, 2020, 557, 844,
    3034, 2130, 447, 954, 3304, 91, 777, 2773, 3214, 2310, 667, 2663, 712, 2716, 3361, 2265, 1079, 2606, 3271, 2375,
    532, 821, 3681, 2785, 1599, 931, 3791, 2695, 2985, 2356, 621, 2625, 3342, 2246, 731, 2735, 3072, 2176, 1497, 912,
    3162, 2066, 1587, 802,
];

/// One of the 64 partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u8);

impl Partition {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS as u8).map(Self)
    }

    pub fn of_user(user: &UserId) -> Self {
        Self::of(user.as_str())
    }

    pub fn of_room(room: &RoomName) -> Self {
        Self::of(room.as_str())
    }

    pub fn of_address(address: std::net::IpAddr) -> Self {
        Self::of(&address.to_string())
    }

    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// FNV-1a: the same on every node, in every version.
    pub(super) fn of(id: &str) -> Self {
        let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // The high bits are folded in: the low ones alone mix the last bytes only.
        Self(((hash ^ (hash >> 32)) % PARTITIONS as u64) as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(tag: &str) -> u16 {
        let crc = tag.bytes().fold(0_u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
                if crc & 0x8000 == 0 {
                    crc << 1
                } else {
                    (crc << 1) ^ 0x1021
                }
            })
        });
        crc % 16_384
    }

    #[test]
    fn the_slots_of_the_partitions_are_evenly_spread() {
        for (band, tag) in TAGS.iter().enumerate() {
            let middle = band as i32 * 256 + 128;
            assert!(
                (i32::from(slot(&tag.to_string())) - middle).abs() <= 8,
                "tag {tag} is off the middle of its band"
            );
        }
    }

    #[test]
    fn names_fall_evenly_into_the_partitions() {
        let mut counts = [0; PARTITIONS];
        for n in 0..6_400 {
            let user = UserId::parse(&format!("user-{n}")).expect("a valid id");
            counts[Partition::of_user(&user).index()] += 1;
        }
        assert!(counts.iter().all(|&count| (50..=160).contains(&count)), "{counts:?}");
    }
}
