//! Who is compared, and how each is started. Not here: where it runs, and what it is asked (`stage`, `cases`).

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::support::token::SECRET;

/// A server that speaks the events of this bench.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Contestant {
    /// This gateway, all features on
    Gateway,
    /// socket.io and its Redis adapter on Node
    Node,
    /// The same on Bun, with its own engine
    Bun,
    /// A bare socketioxide server: no Redis, no rules
    Ceiling,
    /// Nothing but one send(2) per delivery
    Floor,
}

impl Contestant {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Node => "node",
            Self::Bun => "bun",
            Self::Ceiling => "ceiling",
            Self::Floor => "floor",
        }
    }

    /// What it is.
    pub fn title(self) -> String {
        let value = self.to_possible_value();
        value
            .and_then(|value| value.get_help().map(ToString::to_string))
            .unwrap_or_default()
    }

    /// Whether several of it are one, by Redis.
    pub fn is_cluster(self) -> bool {
        matches!(self, Self::Gateway | Self::Node | Self::Bun)
    }

    /// The command, which is to run on this core alone.
    pub fn command(self, core: usize, port: u16, redis_url: &str) -> Command {
        let mut command = Command::new("taskset");
        command
            .arg("--cpu-list")
            .arg(core.to_string())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PORT", port.to_string())
            .env("REDIS_URL", redis_url)
            .env("JWT_SECRET", SECRET)
            .current_dir(env!("CARGO_TARGET_TMPDIR")); // where no .env lies
        match self {
            Self::Gateway => command
                .arg(gateway())
                .arg("serve")
                .env("REALTIME_REDIS_URL", redis_url)
                .env("REALTIME_JWT_SECRET", SECRET)
                .envs(GATEWAY.iter().copied()),
            Self::Node => command.arg("node").arg(peer("node.mjs")),
            Self::Bun => command.arg(peer("bun")).arg(peer("bun.mjs")),
            Self::Ceiling | Self::Floor => command
                .arg(std::env::current_exe().expect("this program has a path"))
                .args(["serve", self.name()]),
        };
        command
    }
}

/// The gateway's program: the one that was built with this, or that of another commit, which `GATEWAY_PROGRAM` names.
fn gateway() -> PathBuf {
    let named = std::env::var_os("GATEWAY_PROGRAM").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_nself-realtime").into())
}

/// All that is on by default stays on. Limits are enforced, and so high that nobody meets them.
const GATEWAY: &[(&str, &str)] = &[
    ("REALTIME_HOST", "127.0.0.1"),
    ("REALTIME_ROOM_AUTOCREATE", "auto:*"),
    ("REALTIME_MAX_CONNECTIONS", "100000"),
    ("REALTIME_RATE_LIMIT", "10000000"),
    ("REALTIME_RATE_EVENTS", "10000000"),
    ("REALTIME_RATE_MESSAGES", "10000000"),
    ("REALTIME_RATE_ROOM_MESSAGES", "10000000"),
    ("REALTIME_RATE_TYPING", "10000000"),
    ("REALTIME_RATE_PRESENCE", "10000000"),
    ("REALTIME_RATE_JOINS", "10000000"),
    ("REALTIME_RATE_CREATIONS", "10000000"),
    ("LOG_FORMAT", "json"),
];

/// A file of those servers that run on npm packages.
fn peer(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers").join(file)
}
