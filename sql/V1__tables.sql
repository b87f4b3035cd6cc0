-- The six tables, by the names and columns that dashboards and Hasura know from the existing realtime plugin.
--
-- Where that plugin has made them, each statement finds its table and changes nothing: V2 takes them over, and V3
-- brings both kinds of database to one shape. Identifiers come from gen_random_uuid(), which needs no extension.

CREATE TABLE IF NOT EXISTS realtime_rooms (
    id          UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    name        VARCHAR(255) NOT NULL UNIQUE,
    type        VARCHAR(50) DEFAULT 'channel',
    visibility  VARCHAR(20) DEFAULT 'public',
    max_members INTEGER,
    is_active   BOOLEAN DEFAULT TRUE,
    settings    JSONB DEFAULT '{}',
    metadata    JSONB DEFAULT '{}',
    created_at  TIMESTAMPTZ DEFAULT now(),
    updated_at  TIMESTAMPTZ DEFAULT now()
);

CREATE TABLE IF NOT EXISTS realtime_room_members (
    id        UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    room_id   UUID REFERENCES realtime_rooms (id) ON DELETE CASCADE,
    user_id   VARCHAR(255) NOT NULL,
    role      VARCHAR(50) DEFAULT 'member',
    is_muted  BOOLEAN DEFAULT FALSE,
    is_banned BOOLEAN DEFAULT FALSE,
    joined_at TIMESTAMPTZ DEFAULT now(),
    last_seen TIMESTAMPTZ DEFAULT now(),
    metadata  JSONB DEFAULT '{}',
    UNIQUE (room_id, user_id)
);

CREATE TABLE IF NOT EXISTS realtime_connections (
    id              UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    socket_id       VARCHAR(255) NOT NULL UNIQUE,
    user_id         VARCHAR(255),
    session_id      VARCHAR(255),
    status          VARCHAR(20) DEFAULT 'connected',
    transport       VARCHAR(20),
    ip_address      INET,
    user_agent      TEXT,
    device_info     JSONB,
    connected_at    TIMESTAMPTZ DEFAULT now(),
    disconnected_at TIMESTAMPTZ,
    last_ping       TIMESTAMPTZ DEFAULT now(),
    last_pong       TIMESTAMPTZ DEFAULT now(),
    latency_ms      INTEGER,
    metadata        JSONB DEFAULT '{}'
);

CREATE TABLE IF NOT EXISTS realtime_presence (
    id                UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id           VARCHAR(255) NOT NULL UNIQUE,
    status            VARCHAR(20) DEFAULT 'offline',
    custom_status     TEXT,
    custom_emoji      VARCHAR(100),
    last_active       TIMESTAMPTZ DEFAULT now(),
    last_heartbeat    TIMESTAMPTZ DEFAULT now(),
    expires_at        TIMESTAMPTZ, -- of the custom status
    connections_count INTEGER DEFAULT 0,
    metadata          JSONB DEFAULT '{}',
    created_at        TIMESTAMPTZ DEFAULT now(),
    updated_at        TIMESTAMPTZ DEFAULT now()
);

CREATE TABLE IF NOT EXISTS realtime_typing (
    id         UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    room_id    UUID REFERENCES realtime_rooms (id) ON DELETE CASCADE,
    user_id    VARCHAR(255) NOT NULL,
    thread_id  VARCHAR(255),
    started_at TIMESTAMPTZ DEFAULT now(),
    expires_at TIMESTAMPTZ NOT NULL
);

-- Partitioned by UTC day, so that what is too old goes with a table, not row by row. A key of a partitioned table
-- has to have the column that decides.
CREATE TABLE IF NOT EXISTS realtime_events (
    id         UUID NOT NULL DEFAULT gen_random_uuid(),
    event_type VARCHAR(100) NOT NULL,
    socket_id  VARCHAR(255),
    user_id    VARCHAR(255),
    room_id    UUID REFERENCES realtime_rooms (id) ON DELETE SET NULL,
    payload    JSONB DEFAULT '{}',
    ip_address INET,
    metadata   JSONB DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
