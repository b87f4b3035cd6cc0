//! Runs the scripts of lua/: EVALSHA, the reload when Redis has forgotten one, their durations, and errors that name
//! the script. Not here: what a script is for (one typed function each in the noun's file).

use std::fmt::Write as _;
use std::sync::LazyLock;

use redis::{Cmd, Value};
use sha1::{Digest, Sha1};

use super::keys::Partition;
use super::link::Request;
use super::reply::{Reply, UnexpectedReply};
use super::slots;
use super::{Hot, HotError};

/// The fragments that `-- @include <name>` puts in place: Redis has no modules.
const FRAGMENTS: &[(&str, &str)] = &[
    ("archive/_outbox", include_str!("../../lua/archive/_outbox.lua")),
    ("limits/_gcra", include_str!("../../lua/limits/_gcra.lua")),
    ("moderation/_state", include_str!("../../lua/moderation/_state.lua")),
    ("messages/_state", include_str!("../../lua/messages/_state.lua")),
    ("presence/_seen", include_str!("../../lua/presence/_seen.lua")),
    ("presence/_state", include_str!("../../lua/presence/_state.lua")),
    ("rooms/_departure", include_str!("../../lua/rooms/_departure.lua")),
    ("rooms/_page", include_str!("../../lua/rooms/_page.lua")),
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
            keys: Texts::with_room(9, 512),
            args: Texts::with_room(20, 1_024),
            master: None,
            reads: false,
        }
    }
}

/// Binds one file of lua/ to a static: `script!(CONNECT = "presence/connect")`.
macro_rules! script {
    ($name:ident = $path:literal) => {
        pub(super) static $name: std::sync::LazyLock<$crate::hot::script::Script> = std::sync::LazyLock::new(|| {
            $crate::hot::script::Script::new(
                $path,
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/", $path, ".lua")),
            )
        });
    };
}
pub(super) use script;

/// Every script, for the preload of a new connection and for the test of the header contract.
pub fn all() -> Vec<&'static Script> {
    [
        super::outbox::SCRIPTS,
        super::archive::SCRIPTS,
        super::restore::SCRIPTS,
        super::presence::SCRIPTS,
        super::explain::SCRIPTS,
        super::connections::SCRIPTS,
        super::stats::SCRIPTS,
        super::doctor::SCRIPTS,
        super::rooms::SCRIPTS,
        super::healing::SCRIPTS,
        super::typing::SCRIPTS,
        super::messages::SCRIPTS,
        super::broadcasts::SCRIPTS,
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
    keys: Texts,
    args: Texts,
    /// Which argument names the master that runs the call.
    master: Option<usize>,
    reads: bool,
}

impl Call {
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.keys.push(key.as_ref());
        self
    }

    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg.as_ref());
        self
    }

    pub fn number(self, number: impl Into<i128>) -> Self {
        self.arg(itoa::Buffer::new().format(number.into()))
    }

    pub fn flag(self, flag: bool) -> Self {
        self.arg(if flag { "1" } else { "0" })
    }

    pub fn args(mut self, args: impl IntoIterator<Item = String>) -> Self {
        args.into_iter().for_each(|arg| self.args.push(arg.as_bytes()));
        self
    }

    /// A key and an argument behind the others: the outbox of the partition, and its bound.
    pub fn outbox(self, hot: &Hot, partition: Partition) -> Self {
        self.key(hot.keys().outbox(partition)).number(hot.terms().outbox)
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

    fn by_digest(&self) -> Prepared<'_> {
        Prepared {
            call: self,
            verb: "EVALSHA",
            body: &self.script.sha,
        }
    }

    fn by_source(&self) -> Prepared<'_> {
        Prepared {
            call: self,
            verb: "EVAL",
            body: &self.script.source,
        }
    }

    /// Runs it: one round trip, or two when Redis had forgotten the script.
    pub async fn run(self, hot: &Hot) -> Result<Reply, HotError> {
        let running = hot.begin(self.script.name);
        let result = self.try_run(hot).await;
        running.end(&result);
        result
    }

    async fn try_run(&self, hot: &Hot) -> Result<Reply, HotError> {
        let fail = |error| HotError::of(self.script.name, error);
        let mut connection = hot.link().connection().await.map_err(fail)?;
        let value = match connection.send(&self.by_digest()).await {
            Err(error) if is_forgotten(&error) => connection.send(&self.by_source()).await,
            other => other,
        };
        self.read(value.map_err(fail)?)
    }

    fn read(&self, value: Value) -> Result<Reply, HotError> {
        Reply::new(value).map_err(|error| HotError::reply(self.script.name, error))
    }
}

/// Texts in one buffer: a call has thirty of them, and is made for every message.
#[derive(Debug)]
struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    fn with_room(texts: usize, bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(texts),
        }
    }

    fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends
            .iter()
            .map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }
}

/// A call as it is sent.
struct Prepared<'a> {
    call: &'a Call,
    verb: &'static str,
    body: &'a str,
}

impl Request for Prepared<'_> {
    fn slot(&self) -> Option<u16> {
        self.call.keys.iter().next().map(slots::slot)
    }

    fn command(&self, master: &str) -> Cmd {
        let Call {
            keys, args, master: at, ..
        } = self.call;
        let bytes = self.body.len() + keys.bytes.len() + args.bytes.len() + master.len() + 16;
        let mut command = Cmd::with_capacity(3 + keys.len() + args.len(), bytes);
        command.arg(self.verb).arg(self.body).arg(keys.len());
        for key in keys.iter() {
            command.arg(key);
        }
        for (index, arg) in args.iter().enumerate() {
            command.arg(if *at == Some(index) { master.as_bytes() } else { arg });
        }
        command
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
        let running = hot.begin(batch[0].script.name);
        let values = send_batch(hot, batch).await;
        running.end(&values);
        let values = values?;
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
    }
    Ok(replies)
}

async fn send_batch(hot: &Hot, batch: &[Call]) -> Result<Vec<Value>, HotError> {
    let fail = |error| HotError::of(batch[0].script.name, error);
    let mut connection = hot.link().connection().await.map_err(fail)?;
    let prepared: Vec<Prepared<'_>> = batch.iter().map(Call::by_digest).collect();
    let requests: Vec<&dyn Request> = prepared.iter().map(|request| request as &dyn Request).collect();
    connection.send_all(&requests).await.map_err(fail)
}
