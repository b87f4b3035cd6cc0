-- What the gateway writes beside the columns of the existing plugin, and the constraints that hold.

ALTER TABLE realtime_rooms
    ADD COLUMN IF NOT EXISTS expires_at TIMESTAMPTZ, -- when a room that was made by joining, and is empty, runs out
    ADD COLUMN IF NOT EXISTS auto_created BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE realtime_room_members
    ADD COLUMN IF NOT EXISTS policy JSONB, -- the entry of the room's policy as it stands in Redis; NULL = none
    ADD COLUMN IF NOT EXISTS is_joined BOOLEAN NOT NULL DEFAULT TRUE, -- FALSE: the row stands for a role, a mute or a ban
    ADD COLUMN IF NOT EXISTS muted_until TIMESTAMPTZ, -- NULL with is_muted: for ever
    ADD COLUMN IF NOT EXISTS banned_until TIMESTAMPTZ; -- NULL with is_banned: for ever
ALTER TABLE realtime_presence
    ADD COLUMN IF NOT EXISTS chosen VARCHAR(20), -- what the user chose, whatever is shown; NULL = nothing
    ADD COLUMN IF NOT EXISTS version BIGINT; -- of the last change; NULL = not written by a gateway

-- One record of the outbox, or of a gap in it: (chain, incarnation, stream_id) is where it stood, batch with which it
-- came. NULL in rows from elsewhere, which no hash covers.
ALTER TABLE realtime_events
    ADD COLUMN IF NOT EXISTS room_name VARCHAR(255),
    ADD COLUMN IF NOT EXISTS chain SMALLINT,
    ADD COLUMN IF NOT EXISTS incarnation TEXT,
    ADD COLUMN IF NOT EXISTS stream_id TEXT,
    ADD COLUMN IF NOT EXISTS batch BIGINT;

ALTER TABLE realtime_rooms
    ALTER COLUMN type SET NOT NULL,
    ALTER COLUMN visibility SET NOT NULL,
    ALTER COLUMN is_active SET NOT NULL,
    DROP CONSTRAINT IF EXISTS realtime_rooms_type_check,
    ADD CONSTRAINT realtime_rooms_type_check CHECK (type IN ('channel', 'dm', 'group', 'broadcast')),
    DROP CONSTRAINT IF EXISTS realtime_rooms_visibility_check,
    ADD CONSTRAINT realtime_rooms_visibility_check CHECK (visibility IN ('public', 'private', 'secret'));
ALTER TABLE realtime_room_members
    ALTER COLUMN role SET NOT NULL,
    ALTER COLUMN is_muted SET NOT NULL,
    ALTER COLUMN is_banned SET NOT NULL,
    DROP CONSTRAINT IF EXISTS realtime_room_members_role_check,
    ADD CONSTRAINT realtime_room_members_role_check CHECK (role IN ('admin', 'moderator', 'member', 'guest')),
    -- Not of old rows, which are kept: nothing reaches or changes a member of no room.
    DROP CONSTRAINT IF EXISTS realtime_room_members_room_id_check,
    ADD CONSTRAINT realtime_room_members_room_id_check CHECK (room_id IS NOT NULL) NOT VALID;
ALTER TABLE realtime_connections
    ALTER COLUMN status SET NOT NULL,
    DROP CONSTRAINT IF EXISTS realtime_connections_status_check,
    ADD CONSTRAINT realtime_connections_status_check CHECK (status IN ('connected', 'disconnected', 'reconnecting')),
    DROP CONSTRAINT IF EXISTS realtime_connections_transport_check,
    ADD CONSTRAINT realtime_connections_transport_check CHECK (transport IN ('websocket', 'polling'));
ALTER TABLE realtime_presence
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN connections_count SET NOT NULL,
    DROP CONSTRAINT IF EXISTS realtime_presence_status_check,
    ADD CONSTRAINT realtime_presence_status_check CHECK (status IN ('online', 'away', 'busy', 'offline')),
    DROP CONSTRAINT IF EXISTS realtime_presence_chosen_check,
    ADD CONSTRAINT realtime_presence_chosen_check CHECK (chosen IN ('online', 'away', 'busy', 'offline')),
    DROP CONSTRAINT IF EXISTS realtime_presence_connections_count_check,
    ADD CONSTRAINT realtime_presence_connections_count_check CHECK (connections_count >= 0);
-- One mark per user, room and thread, also where there is no thread.
ALTER TABLE realtime_typing
    ALTER COLUMN room_id SET NOT NULL,
    DROP CONSTRAINT IF EXISTS realtime_typing_room_id_user_id_thread_id_key,
    ADD CONSTRAINT realtime_typing_room_id_user_id_thread_id_key
        UNIQUE NULLS NOT DISTINCT (room_id, user_id, thread_id);
-- A row is in a batch of a chain, or outside.
ALTER TABLE realtime_events
    DROP CONSTRAINT IF EXISTS realtime_events_chain_check,
    ADD CONSTRAINT realtime_events_chain_check CHECK (num_nonnulls(chain, batch) IN (0, 2) AND chain BETWEEN 0 AND 63);

CREATE INDEX IF NOT EXISTS idx_realtime_rooms_name ON realtime_rooms (name);
CREATE INDEX IF NOT EXISTS idx_realtime_rooms_type ON realtime_rooms (type);
CREATE INDEX IF NOT EXISTS idx_realtime_rooms_is_active ON realtime_rooms (is_active);
CREATE INDEX IF NOT EXISTS idx_realtime_room_members_room_id ON realtime_room_members (room_id);
CREATE INDEX IF NOT EXISTS idx_realtime_room_members_user_id ON realtime_room_members (user_id);
CREATE INDEX IF NOT EXISTS idx_realtime_room_members_joined_at ON realtime_room_members (joined_at);
CREATE INDEX IF NOT EXISTS idx_realtime_connections_socket_id ON realtime_connections (socket_id);
CREATE INDEX IF NOT EXISTS idx_realtime_connections_user_id ON realtime_connections (user_id);
CREATE INDEX IF NOT EXISTS idx_realtime_connections_status ON realtime_connections (status);
CREATE INDEX IF NOT EXISTS idx_realtime_connections_connected_at ON realtime_connections (connected_at);
-- The gateway's own name of a connection, of which a socket may have had several; and what is old enough to be pruned.
CREATE INDEX IF NOT EXISTS idx_realtime_connections_connection ON realtime_connections ((metadata ->> 'connection'));
CREATE INDEX IF NOT EXISTS idx_realtime_connections_disconnected_at ON realtime_connections (disconnected_at)
    WHERE disconnected_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS idx_realtime_presence_user_id ON realtime_presence (user_id);
CREATE INDEX IF NOT EXISTS idx_realtime_presence_status ON realtime_presence (status);
CREATE INDEX IF NOT EXISTS idx_realtime_presence_last_active ON realtime_presence (last_active);
CREATE INDEX IF NOT EXISTS idx_realtime_typing_room_id ON realtime_typing (room_id);
CREATE INDEX IF NOT EXISTS idx_realtime_typing_user_id ON realtime_typing (user_id);
CREATE INDEX IF NOT EXISTS idx_realtime_typing_expires_at ON realtime_typing (expires_at);
-- Single columns, since a partition is no longer than a day; the room's has the time, for who was in it when.
CREATE INDEX IF NOT EXISTS idx_realtime_events_event_type ON realtime_events (event_type);
CREATE INDEX IF NOT EXISTS idx_realtime_events_socket_id ON realtime_events (socket_id);
CREATE INDEX IF NOT EXISTS idx_realtime_events_user_id ON realtime_events (user_id);
CREATE INDEX IF NOT EXISTS idx_realtime_events_room_id ON realtime_events (room_id);
CREATE INDEX IF NOT EXISTS idx_realtime_events_created_at ON realtime_events (created_at);
CREATE INDEX IF NOT EXISTS idx_realtime_events_room_name ON realtime_events (room_name, created_at)
    WHERE room_name IS NOT NULL;
-- Batch by batch: the check of the chain, and whoever follows what is committed. Many rows share a key, so it is small.
CREATE INDEX IF NOT EXISTS idx_realtime_events_chain ON realtime_events (chain, batch) WHERE chain IS NOT NULL;

DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'realtime_events'::REGCLASS AND attname = 'source_account_id' AND NOT attisdropped
    ) THEN
        CREATE INDEX IF NOT EXISTS idx_realtime_events_source_account ON realtime_events (source_account_id);
    END IF;
    IF NOT EXISTS (SELECT FROM realtime_room_members WHERE room_id IS NULL) THEN
        ALTER TABLE realtime_room_members VALIDATE CONSTRAINT realtime_room_members_room_id_check;
    END IF;
END
$$;
