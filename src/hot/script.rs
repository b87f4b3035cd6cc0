//! Runs the scripts of lua/: EVALSHA, the reload when Redis has forgotten one, their durations, and errors that name
//! the script. Not here: what a script is for (one typed function each in the noun's file).

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Instant;

use redis::{Cmd, Pipeline, Value};
use sha1::{Digest, Sha1};

use super::link::Connection;
use super::reply::{Reply, UnexpectedReply};
use super::{Hot, HotError};

/// The fragments that `-- @include <name>` puts in place: Redis has no modules.
const FRAGMENTS: &[(&str, &str)] = &[
    ("limits/_gcra", include_str!("../../lua/limits/_gcra.lua")),
    ("moderation/_state", include_str!("../../lua/moderation/_state.lua")),
    ("messages/_state", include_str!("../../lua/messages/_state.lua")),
    ("presence/_state", include_str!("../../lua/presence/_state.lua")),
    ("rooms/_departure", include_str!("../../lua/rooms/_departure.lua")),
    ("rooms/_state", include_str!("../../lua/rooms/_state.lua")),
    ("typing/_state", include_str!("../../lua/typing/_state.lua")),
];

/// One file of lua/, ready to be called by its digest.
#[derive(Debug)]
pub struct Script {
    name: &'static str,
    source: String,
    sha: String,
}

impl Script {
    /// `name` is the path below lua/ without its ending.
    pub fn new(name: &'static str, file: &'static str) -> Self {
        let source = FRAGMENTS.iter().fold(file.to_owned(), |source, (fragment, text)| {
            source.replace(&format!("-- @include {fragment}\n"), text)
        });
        let sha = Sha1::digest(&source).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("a String takes every write");
            hex
        });
        Self { name, source, sha }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// Reads a reply; one of another shape than the header declares is an error that names the script.
    pub fn read<T>(&self, values: impl FnOnce() -> Result<T, UnexpectedReply>) -> Result<T, HotError> {
        values().map_err(|error| HotError::reply(self.name, error))
    }

    /// A call of this script, to be given its keys and arguments.
    pub fn call(&'static self) -> Call {
        Call {
            script: self,
            keys: Vec::new(),
            args: Vec::new(),
            master: None,
            reads: false,
        }
    }
}

/// Binds one file of lua/ to a static: `script!(CONNECT = "presence/connect")`.
macro_rules! script {
    ($name:ident = $path:literal) => {
        pub(super) static $name: std::sync::LazyLock<$crate::hot::script::Script> = std::sync::LazyLock::new(|| {
            $crate::hot::script::Script::new($path, include_str!(concat!("../../lua/", $path, ".lua")))
        });
    };
}
pub(super) use script;

/// Every script, for the preload of a new connection and for the test of the header contract.
pub fn all() -> Vec<&'static Script> {
    [
        super::presence::SCRIPTS,
        super::explain::SCRIPTS,
        super::doctor::SCRIPTS,
        super::rooms::SCRIPTS,
        super::healing::SCRIPTS,
        super::typing::SCRIPTS,
        super::messages::SCRIPTS,
        super::sessions::SCRIPTS,
        super::limits::SCRIPTS,
        super::moderation::SCRIPTS,
        super::sweep::SCRIPTS,
        super::nodes::SCRIPTS,
        super::revocations::SCRIPTS,
    ]
    .into_iter()
    .flatten()
    .map(|script| LazyLock::force(script))
    .collect()
}

/// A script with its keys and arguments.
#[derive(Debug)]
pub struct Call {
    script: &'static Script,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
    /// Which argument names the master that runs the call.
    master: Option<usize>,
    reads: bool,
}

impl Call {
    pub fn key(mut self, key: String) -> Self {
        self.keys.push(key);
        self
    }

    pub fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub fn number(self, number: impl Into<i128>) -> Self {
        self.arg(number.into().to_string())
    }

    pub fn flag(self, flag: bool) -> Self {
        self.arg(if flag { "1" } else { "0" })
    }

    pub fn args(mut self, args: impl IntoIterator<Item = String>) -> Self {
        self.args.extend(args.into_iter().map(String::into_bytes));
        self
    }

    /// The replication id of the master that runs it: known only when the call is sent.
    pub fn master(mut self) -> Self {
        self.master = Some(self.args.len());
        self.arg("")
    }

    /// It reads, and must see what the calls before it in a pipeline did: it is made again where one of them had to be.
    pub fn reading(mut self) -> Self {
        self.reads = true;
        self
    }

    fn command(&self, verb: &str, body: &str, connection: &Connection) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(body).arg(self.keys.len());
        self.keys.iter().for_each(|key| {
            command.arg(key);
        });
        for (index, arg) in self.args.iter().enumerate() {
            match (self.master, self.keys.first()) {
                (Some(master), Some(key)) if master == index => {
                    command.arg(&*connection.master(key));
                }
                _ => {
                    command.arg(&arg[..]);
                }
            }
        }
        command
    }

    /// Runs it: one round trip, or two when Redis had forgotten the script.
    pub async fn run(self, hot: &Hot) -> Result<Reply, HotError> {
        let started = Instant::now();
        let result = self.try_run(hot).await;
        hot.observe(self.script.name, started.elapsed(), result.is_ok());
        result
    }

    async fn try_run(&self, hot: &Hot) -> Result<Reply, HotError> {
        let fail = |error| HotError::of(self.script.name, error);
        let mut connection = hot.link().connection().await.map_err(fail)?;
        let command = self.command("EVALSHA", &self.script.sha, &connection);
        let value = match connection.send(&command).await {
            Err(error) if is_forgotten(&error) => {
                let command = self.command("EVAL", &self.script.source, &connection);
                connection.send(&command).await
            }
            other => other,
        };
        self.read(value.map_err(fail)?)
    }

    fn read(&self, value: Value) -> Result<Reply, HotError> {
        Reply::new(value).map_err(|error| HotError::reply(self.script.name, error))
    }
}

fn is_forgotten(error: &redis::RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// Most calls of one round trip: what Redis must buffer at once stays small.
const PIPELINE_MAX: usize = 512;

/// Runs many calls in few round trips; each has its own outcome, in the order of the calls.
pub async fn run_all(hot: &Hot, calls: Vec<Call>) -> Result<Vec<Result<Reply, HotError>>, HotError> {
    let mut replies = Vec::with_capacity(calls.len());
    for batch in calls.chunks(PIPELINE_MAX) {
        let started = Instant::now();
        let fail = |error| HotError::of(batch[0].script.name, error);
        let mut connection = hot.link().connection().await.map_err(fail)?;
        let mut pipeline = Pipeline::with_capacity(batch.len());
        for call in batch {
            pipeline.add_command(call.command("EVALSHA", &call.script.sha, &connection));
        }
        pipeline.ignore_errors();
        let values = connection.send_all(&pipeline, batch.len()).await.map_err(fail)?;
        let mut repeated = false;
        for (call, value) in batch.iter().zip(values) {
            replies.push(match value {
                Value::ServerError(error) if error.code() == "NOSCRIPT" => {
                    repeated = true;
                    call.try_run(hot).await
                }
                _ if repeated && call.reads => call.try_run(hot).await,
                Value::ServerError(error) => Err(HotError::of(call.script.name, error.into())),
                value => call.read(value),
            });
        }
        hot.observe(batch[0].script.name, started.elapsed(), true);
    }
    Ok(replies)
}
