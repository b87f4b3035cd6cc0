//! Slots of a Redis Cluster: of a key or channel, and of a command by its first key. Not here: who owns a slot
//! (`topology`).

use redis::{Arg, Cmd};

/// Slots of a Cluster.
pub const SLOTS: u16 = 16_384;

/// The slot of a key or channel: CRC-16 (XMODEM) of its hash tag, or of the whole name where there is none.
pub fn slot(name: &[u8]) -> u16 {
    crc16(tag(name)) % SLOTS
}

fn tag(name: &[u8]) -> &[u8] {
    let position = |bytes: &[u8], wanted: u8| bytes.iter().position(|&byte| byte == wanted);
    let inner = position(name, b'{').map(|open| &name[open + 1..]);
    match inner.and_then(|inner| position(inner, b'}').map(|close| &inner[..close])) {
        Some(tag) if !tag.is_empty() => tag,
        _ => name,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

/// The slot of a command's first key; `None` for a command without keys. Knows the commands that the hot state uses:
/// scripts, and those whose first argument is the key.
pub fn of_command(command: &Cmd) -> Option<u16> {
    let word = |position: usize| match command.args_iter().nth(position) {
        Some(Arg::Simple(word)) => Some(word),
        _ => None,
    };
    let key = match word(0)? {
        b"EVALSHA" | b"EVAL" if word(2) == Some(b"0") => None,
        b"EVALSHA" | b"EVAL" => word(3),
        b"PING" | b"SCRIPT" => None,
        _ => word(1),
    };
    key.map(slot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // CLUSTER KEYSLOT's answers.
        assert_eq!(slot(b"123456789"), 12_739);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"x{foo}y"), slot(b"foo"));
        assert_eq!(slot(b"{}foo"), crc16(b"{}foo") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn a_command_goes_by_its_first_key() {
        let mut call = redis::cmd("EVALSHA");
        call.arg("digest").arg(2).arg("foo").arg("foo{x}").arg("argument");
        assert_eq!(of_command(&call), Some(12_182));
        assert_eq!(of_command(redis::cmd("ZCARD").arg("foo")), Some(12_182));
        assert_eq!(of_command(&redis::cmd("PING")), None);
    }
}
