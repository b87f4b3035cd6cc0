//! `dev`: gateways with a Redis and a Postgres of their own, all children of this process, all gone when it ends.
//! Not here: anything that a gateway does; the children are `serve`.

mod gateways;
mod leash;
mod stores;

use clap::Args;
use futures_util::future::{join_all, select_all, try_join_all};
use serde_json::Map;

use self::gateways::Gateway;
use self::leash::Leash;
use self::stores::Scratch;
use super::{Error, say, serve, token};
use crate::config::{Flags, JwtSettings, Sources};
use crate::types::UserId;

/// How long the printed token is valid.
const TOKEN_TTL_S: u32 = 86_400;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How many gateways
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=32))]
    nodes: u8,
    /// The user that the printed token is for
    #[arg(long, default_value = "ada")]
    user: UserId,
}

/// Variables for a child.
type Envs = Vec<(&'static str, String)>;

/// What a developer expects where nothing else is configured.
const DEFAULTS: &[(&str, &str)] = &[
    ("REALTIME_ROOM_AUTOCREATE", "*"),
    ("REALTIME_CORS_ORIGIN", "*"),
    // The database is new and nobody else's.
    ("REALTIME_MIGRATE", "true"),
    // No balancer has to see it, and Ctrl-C is waited for.
    ("REALTIME_DRAIN_WAIT", "0"),
    ("REALTIME_DRAIN_WINDOW", "1000"),
    ("REALTIME_DRAIN_TIMEOUT", "10000"),
];

/// The running children.
#[derive(Default)]
struct Children {
    stores: Vec<Leash>,
    gateways: Vec<Gateway>,
}

impl Children {
    /// The name of the first child that ends by itself.
    async fn first_to_end(&mut self) -> String {
        let leashes = self
            .stores
            .iter_mut()
            .chain(self.gateways.iter_mut().map(|gateway| &mut gateway.leash));
        let waits = leashes.map(|leash| Box::pin(async { leash.ended().await.map(|_| leash.name.clone()) }));
        let (ended, ..) = select_all(waits).await;
        ended.unwrap_or_else(|error| format!("a child ({error})"))
    }

    /// Gateways first, together: they still need Redis to say good-bye.
    async fn end(self) {
        join_all(self.gateways.into_iter().map(|gateway| gateway.leash.end())).await;
        join_all(self.stores.into_iter().map(Leash::end)).await;
    }
}

pub(super) async fn run(flags: &Flags, options: &Options) -> Result<(), Error> {
    let stop = serve::stop_signals()?;
    let scratch = Scratch::new().map_err(|error| Error::Io("cannot make a temporary directory", error))?;
    let mut children = Children::default();
    let outcome = tokio::select! {
        () = stop.cancelled() => Ok(()),
        outcome = live(flags, options, &scratch, &mut children) => outcome,
    };
    children.end().await;
    outcome
}

/// Brings everything up, and returns only when something failed.
async fn live(flags: &Flags, options: &Options, scratch: &Scratch, children: &mut Children) -> Result<(), Error> {
    let (envs, jwt) = settings(flags)?;
    let redis = stores::redis(scratch, &mut children.stores).await?;
    let postgres = stores::postgres(scratch, &mut children.stores).await?;
    let mut envs = envs;
    envs.push(("REALTIME_REDIS_URL", redis.clone()));
    // Never somebody's real database, even where one is configured.
    envs.push((
        "REALTIME_DATABASE_URL",
        postgres.clone().unwrap_or_else(|| "none".to_owned()),
    ));
    let names: Vec<_> = (1..=options.nodes).map(|number| format!("dev-{number}")).collect();
    gateways::start(&names, flags, &envs, &mut children.gateways)?;
    let places: Vec<_> = children
        .gateways
        .iter()
        .map(|it| (it.leash.name.clone(), it.address))
        .collect();
    tokio::select! {
        ready = try_join_all(places.iter().map(|(name, address)| gateways::ready(name, *address))) => drop(ready?),
        name = children.first_to_end() => return Err(ended(&name)),
    }
    say!(
        "\n{} on one Redis:",
        if options.nodes == 1 { "One gateway" } else { "Gateways" }
    );
    for gateway in &children.gateways {
        say!("  {:<10} {}", gateway.leash.name, gateway.url());
    }
    say!("  {:<10} {redis}", "redis");
    say!(
        "  {:<10} {}",
        "postgres",
        postgres.as_deref().unwrap_or("not installed")
    );
    invite(&children.gateways[0].url(), &jwt, &options.user);
    Err(ended(&children.first_to_end().await))
}

fn ended(name: &str) -> Error {
    Error::Failed(format!("{name} ended; everything else is ended as well"))
}

/// What the gateways are told beside the flags, and how they verify tokens.
fn settings(flags: &Flags) -> Result<(Envs, JwtSettings), Error> {
    let sources = Sources::read(flags)?;
    let unset = DEFAULTS.iter().filter(|(name, _)| !sources.is_set(name));
    let mut envs: Envs = unset.map(|(name, text)| (*name, (*text).to_owned())).collect();
    let mut jwt = JwtSettings::from_sources(&sources)?;
    if !jwt.has_key() {
        let secret = format!("{:032x}", rand::random::<u128>());
        jwt = JwtSettings::from_sources(&sources.with("REALTIME_JWT_SECRET", &secret))?;
        envs.push(("REALTIME_JWT_SECRET", secret));
    }
    Ok((envs, jwt))
}

/// A token, and a client that uses it.
fn invite(url: &str, jwt: &JwtSettings, user: &UserId) {
    let token = match token::sign(jwt, user, TOKEN_TTL_S, Map::new()) {
        Ok(token) => token,
        Err(error) => {
            say!("\nNo token: {error}");
            return;
        }
    };
    say!("\nA token for {user}, good for a day:\n  {token}");
    say!("\nA client (npm install socket.io-client):");
    say!("  const socket = require('socket.io-client')('{url}', {{ auth: {{ token: '{token}' }} }});");
    say!("  socket.on('message:new', (message) => console.log(message.userId, message.content));");
    say!("  socket.emit('room:join', {{ roomName: 'general' }}, console.log);");
    say!("  socket.emit('message:send', {{ roomName: 'general', content: 'hello' }}, console.log);");
    say!("\nCtrl-C ends all of it.");
}
