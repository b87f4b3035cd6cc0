//! The rows of the one table of settings, in the order in which they are shown.

use super::{Group, setting, switch};

/// Every setting there is.
pub const GROUPS: &[Group] = &[
    Group {
        title: "Server",
        settings: &[
            setting(
                "REALTIME_PROFILE",
                "",
                "Whose defaults hold: nchat (below; and dm: and user: rooms are private, channelId is a room), empty = those that stand here",
            ),
            setting("REALTIME_HOST", "0.0.0.0", "Address to listen on"),
            setting("REALTIME_PORT", "3101", "Port to listen on; 0 lets the system choose").also(&["PORT"]),
            setting("REALTIME_SHARDS", "0", "Threads that hold sockets; 0 = one per core"),
            setting(
                "REALTIME_NODE_ID",
                "",
                "Name of this node among its peers; empty = random",
            ),
            setting(
                "REALTIME_CORS_ORIGIN",
                "",
                "Origins that browsers may come from, comma separated; * = any, empty = the same origin only",
            ),
            setting(
                "REALTIME_TRUSTED_PROXIES",
                "loopback,private",
                "Proxies whose X-Forwarded-For is believed: addresses, networks, loopback, private",
            ),
            setting(
                "REALTIME_ADMIN_PORT",
                "",
                "Port for health, metrics and /api alone, which the main port then does not answer; empty = the main port",
            ),
        ],
    },
    Group {
        title: "Stopping",
        settings: &[
            setting(
                "REALTIME_DRAIN_WAIT",
                "5000",
                "How long a stopping node serves on while it is not ready, so that balancers see it, ms",
            ),
            setting(
                "REALTIME_DRAIN_WINDOW",
                "20000",
                "Time over which it then sends its sockets away, in batches, ms",
            ),
            setting(
                "REALTIME_DRAIN_TIMEOUT",
                "35000",
                "Longest time that stopping takes, ms: not less than wait and window, which are cut where they leave no quarter of it for the end",
            ),
            setting(
                "REALTIME_DRAIN_GRACE",
                "15000",
                "How long a connection of a stopping node may come back to another before anybody is told, ms",
            ),
        ],
    },
    Group {
        title: "Redis and Postgres",
        settings: &[
            setting(
                "REALTIME_REDIS_URL",
                "",
                "Redis, the one thing that is required: redis://, unix://, redis+sentinel://host:port,…/<master>[/db][?sentinel_username=…&sentinel_password=…] or redis-cluster://host:port,…, each with [user:password@] of the data's servers before the host",
            )
            .also(&["REDIS_URL"])
            .parts(&["REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"])
            .secret(),
            setting("REALTIME_REDIS_PREFIX", "rt", "Stands before every key and channel"),
            setting(
                "REALTIME_DATABASE_URL",
                "",
                "Postgres for the archive: postgres://…; none = no archive, whatever else is set",
            )
            .also(&["DATABASE_URL"])
            .parts(&[
                "POSTGRES_HOST",
                "POSTGRES_PORT",
                "POSTGRES_DB",
                "POSTGRES_USER",
                "POSTGRES_PASSWORD",
                "POSTGRES_SSL",
            ])
            .secret(),
            switch(
                "REALTIME_MIGRATE",
                "false",
                "Bring the database's schema up to date when a gateway starts, as init does",
            ),
            setting(
                "REALTIME_BATCH_SIZE",
                "100",
                "Most messages that go to Redis in one call, and most frames in one write to a socket (there 128 at most)",
            ),
        ],
    },
    Group {
        title: "The archive",
        settings: &[
            setting(
                "REALTIME_OUTBOX_MAX",
                "100000",
                "What waits for Postgres in each of the 64 partitions; beyond, the oldest go, and are counted",
            ),
            setting(
                "REALTIME_RESTORE",
                "required",
                "Where Redis comes back empty: required = closed until Postgres has brought rooms and bans back, best-effort = open without it while Postgres is away",
            ),
            switch(
                "REALTIME_DURABLE_POLICY",
                "true",
                "A client's change of role, mute or ban is acknowledged once Postgres has it, or says that it has not",
            ),
            switch("REALTIME_PERSIST_MESSAGES", "false", "Keep messages in Postgres, too"),
            setting(
                "REALTIME_EVENT_RETENTION_DAYS",
                "30",
                "Days of events, and of messages that are kept in Postgres; older ones are dropped, 0 = none",
            ),
            setting(
                "REALTIME_CONNECTION_RETENTION",
                "86400000",
                "How long a connection that has ended stays in realtime_connections, ms",
            ),
        ],
    },
    Group {
        title: "Tokens",
        settings: &[
            setting(
                "REALTIME_JWT_SECRET",
                "",
                "Shared secret (HS256, HS384, HS512) or PEM public key (RS*, PS*, ES*, EdDSA)",
            )
            .secret(),
            setting(
                "REALTIME_JWT_ALGORITHMS",
                "",
                "Algorithms that a token may be signed with; empty = all that fit the key",
            ),
            setting(
                "REALTIME_JWT_AUDIENCE",
                "",
                "Accepted aud, comma separated; empty = not checked",
            ),
            setting(
                "REALTIME_JWT_ISSUER",
                "",
                "Accepted iss, comma separated; empty = not checked",
            ),
            setting("REALTIME_JWT_LEEWAY", "0", "Tolerance for exp and nbf, ms"),
            setting(
                "REALTIME_JWT_JWKS_URL",
                "",
                "Key set to fetch, instead of a secret or beside one: http:// or https://; kept up to date",
            )
            .secret(),
            setting(
                "REALTIME_JWT_JWKS_FILE",
                "",
                "The same from a file, read again when it changes",
            ),
            setting(
                "REALTIME_REVOCATION_KEEP",
                "2592000000",
                "How long a revocation is remembered, ms: longer than any token lives",
            ),
            switch(
                "REALTIME_INSECURE_USER_TOKENS",
                "false",
                "Believe the token user:<id> of this machine's programs without any proof; for development, on a loopback REALTIME_HOST only, never with REALTIME_CORS_ORIGIN=* or NODE_ENV=production; what comes by a TCP tunnel (ssh -R, kubectl port-forward) looks local, too",
            ),
            switch(
                "REALTIME_ALLOW_ANONYMOUS",
                "false",
                "Let sockets without a token listen in public rooms",
            ),
            switch("REALTIME_ANONYMOUS_MAY_SEND", "false", "Let them speak there as well"),
            setting(
                "REALTIME_API_KEYS",
                "",
                "Keys of the administration, comma separated; empty = /api answers 404",
            )
            .secret(),
        ],
    },
    Group {
        title: "Connections",
        settings: &[
            setting("REALTIME_PING_INTERVAL", "25000", "Time between two engine pings, ms"),
            setting(
                "REALTIME_PING_TIMEOUT",
                "60000",
                "Silence after a ping that ends a connection, ms",
            ),
            setting("REALTIME_MAX_PAYLOAD", "1000000", "Largest packet, bytes"),
            switch(
                "REALTIME_ENABLE_COMPRESSION",
                "true",
                "permessage-deflate for clients that ask for it, gzip for HTTP answers",
            ),
        ],
    },
    Group {
        title: "Limits",
        settings: &[
            setting(
                "REALTIME_LIMITS",
                "enforce",
                "Rates and counts: enforce, shadow (only counted) or off",
            ),
            setting("REALTIME_MAX_CONNECTIONS", "10000", "Connections that a node holds"),
            setting(
                "REALTIME_MAX_USER_CONNECTIONS",
                "50",
                "Connections that one user has on all nodes; what is in grace does not count",
            ),
            setting("REALTIME_MAX_CONTENT", "65536", "Largest content of a message, bytes"),
            setting("REALTIME_MAX_ROOMS", "200", "Rooms that one socket may be in"),
            setting(
                "REALTIME_RATE_LIMIT",
                "100",
                "New connections per minute from one address or IPv6 /64; this and the rates below: a minute/at once, one number for both",
            ),
            setting("REALTIME_RATE_EVENTS", "3000/1000", "Events of one socket, of any kind"),
            setting(
                "REALTIME_RATE_MESSAGES",
                "600/500",
                "message:send of one user, on all nodes, as below",
            ),
            setting(
                "REALTIME_RATE_ROOM_MESSAGES",
                "300/300",
                "message:send of one user in one room",
            ),
            setting("REALTIME_RATE_TYPING", "300/60", "typing:* of one user"),
            setting("REALTIME_RATE_PRESENCE", "300/100", "presence:* of one user"),
            setting("REALTIME_RATE_JOINS", "600/1000", "room:join of one user"),
            setting("REALTIME_RATE_CREATIONS", "10/200", "Rooms that one user makes by joining them"),
            setting("REALTIME_RATE_REFRESHES", "60/60", "auth:refresh of one user"),
            setting(
                "REALTIME_RATE_REQUESTS",
                "1200/600",
                "room:leave, room:members, message:history and whatever else one user asks",
            ),
        ],
    },
    Group {
        title: "Rooms and messages",
        settings: &[
            setting(
                "REALTIME_ROOM_AUTOCREATE",
                "",
                "Names of rooms that are made when first joined: comma list, * stands for any text",
            ),
            setting(
                "REALTIME_ROOM_OWNERSHIP",
                "creator",
                "Admin of such a room: creator (whoever made it) or none (the administration appoints)",
            ),
            setting(
                "REALTIME_HISTORY_SIZE",
                "1000",
                "Messages of a room that are kept for those who missed them; 0 = none",
            ),
            setting(
                "REALTIME_HISTORY_TTL",
                "86400000",
                "How long they are kept after the last one, ms",
            ),
            setting(
                "REALTIME_RECOVERY",
                "asked",
                "Recovery of the stock client: asked (by auth.recovery), all or off",
            ),
            setting(
                "REALTIME_RECOVERY_WINDOW",
                "120000",
                "How long a session can be recovered, ms",
            ),
        ],
    },
    Group {
        title: "Presence and typing",
        settings: &[
            switch("REALTIME_ENABLE_PRESENCE", "true", "Tell who is there"),
            setting(
                "REALTIME_PRESENCE_HEARTBEAT",
                "30000",
                "Time between two extensions of a lease, ms; a lease is 2.5 of it",
            ),
            setting(
                "REALTIME_PRESENCE_GRACE",
                "5000",
                "How long a lost connection may come back before anybody is told, ms",
            ),
            setting(
                "REALTIME_PRESENCE_AWAY_AFTER",
                "300000",
                "Inactivity on all devices that makes a user away, ms",
            ),
            setting(
                "REALTIME_PRESENCE_ROOM_LIMIT",
                "500",
                "Members above which a room is told counts instead of people",
            ),
            setting(
                "REALTIME_PRESENCE_AUDIENCE",
                "rooms",
                "Who hears a change of presence: rooms (that are shared) or all",
            ),
            setting(
                "REALTIME_CUSTOM_STATUS_SHAPE",
                "flat",
                "How a custom status is written: flat or object",
            ),
            switch("REALTIME_ENABLE_TYPING", "true", "Tell who types"),
            setting("REALTIME_TYPING_TIMEOUT", "3000", "Life of a typing mark, ms"),
        ],
    },
    Group {
        title: "Cluster",
        settings: &[
            setting(
                "REALTIME_NODE_BEAT",
                "2000",
                "Time between two extensions of the node's own lease, ms",
            ),
            setting(
                "REALTIME_NODE_LEASE",
                "6000",
                "The node's own lease, ms; at least two beats",
            ),
            setting(
                "REALTIME_SWEEP_INTERVAL",
                "250",
                "Time between two sweeps of what has ended, ms",
            ),
        ],
    },
    Group {
        title: "Logs, health and metrics",
        settings: &[
            setting(
                "LOG_LEVEL",
                "info",
                "Least severe line: trace, debug, info, warn or error",
            ),
            setting(
                "LOG_FORMAT",
                "",
                "json or pretty; empty = pretty on a terminal, unless NODE_ENV is production",
            )
            .parts(&["NODE_ENV"]),
            switch("REALTIME_LOG_EVENTS", "true", "Write events to the audit trail"),
            setting(
                "REALTIME_LOG_EVENT_TYPES",
                "connect,disconnect,error",
                "Types of events that are written; * = all",
            ),
            switch("REALTIME_ENABLE_METRICS", "true", "Serve metrics"),
            setting("REALTIME_METRICS_PATH", "/metrics", "… at this path"),
            switch(
                "REALTIME_METRICS_SOCKET_IO",
                "false",
                "Beside them those by the names that exporters of socket.io use: socket_io_*",
            ),
            switch("REALTIME_ENABLE_HEALTH", "true", "Serve health"),
            setting("REALTIME_HEALTH_PATH", "/health", "… at this path"),
        ],
    },
];
