-- The tables as the existing plugin makes them, from the facts about it: no check on any value, marks without a thread
-- that repeat, events in one plain table. Written anew for these tests; not a copy.

CREATE EXTENSION IF NOT EXISTS "uuid-ossp";

CREATE TABLE realtime_connections (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(), socket_id VARCHAR(255) UNIQUE NOT NULL, user_id VARCHAR(255),
    session_id VARCHAR(255), status VARCHAR(20) DEFAULT 'connected', transport VARCHAR(20), ip_address INET,
    user_agent TEXT, device_info JSONB, connected_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    disconnected_at TIMESTAMP WITH TIME ZONE, last_ping TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    last_pong TIMESTAMP WITH TIME ZONE DEFAULT NOW(), latency_ms INTEGER, metadata JSONB DEFAULT '{}'
);
CREATE INDEX idx_realtime_connections_socket_id ON realtime_connections (socket_id);
CREATE INDEX idx_realtime_connections_user_id ON realtime_connections (user_id);
CREATE INDEX idx_realtime_connections_status ON realtime_connections (status);
CREATE INDEX idx_realtime_connections_connected_at ON realtime_connections (connected_at);

CREATE TABLE realtime_rooms (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(), name VARCHAR(255) UNIQUE NOT NULL, type VARCHAR(50) DEFAULT 'channel',
    visibility VARCHAR(20) DEFAULT 'public', max_members INTEGER, is_active BOOLEAN DEFAULT TRUE,
    settings JSONB DEFAULT '{}', metadata JSONB DEFAULT '{}', created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW()
);
CREATE INDEX idx_realtime_rooms_name ON realtime_rooms (name);
CREATE INDEX idx_realtime_rooms_type ON realtime_rooms (type);
CREATE INDEX idx_realtime_rooms_is_active ON realtime_rooms (is_active);

CREATE TABLE realtime_room_members (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(), room_id UUID REFERENCES realtime_rooms (id) ON DELETE CASCADE,
    user_id VARCHAR(255) NOT NULL, role VARCHAR(50) DEFAULT 'member', is_muted BOOLEAN DEFAULT FALSE,
    is_banned BOOLEAN DEFAULT FALSE, joined_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    last_seen TIMESTAMP WITH TIME ZONE DEFAULT NOW(), metadata JSONB DEFAULT '{}', UNIQUE (room_id, user_id)
);
CREATE INDEX idx_realtime_room_members_room_id ON realtime_room_members (room_id);
CREATE INDEX idx_realtime_room_members_user_id ON realtime_room_members (user_id);
CREATE INDEX idx_realtime_room_members_joined_at ON realtime_room_members (joined_at);

CREATE TABLE realtime_presence (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(), user_id VARCHAR(255) UNIQUE NOT NULL,
    status VARCHAR(20) DEFAULT 'offline', custom_status TEXT, custom_emoji VARCHAR(100),
    last_active TIMESTAMP WITH TIME ZONE DEFAULT NOW(), last_heartbeat TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    expires_at TIMESTAMP WITH TIME ZONE, connections_count INTEGER DEFAULT 0, metadata JSONB DEFAULT '{}',
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(), updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW()
);
CREATE INDEX idx_realtime_presence_user_id ON realtime_presence (user_id);
CREATE INDEX idx_realtime_presence_status ON realtime_presence (status);
CREATE INDEX idx_realtime_presence_last_active ON realtime_presence (last_active);

CREATE TABLE realtime_typing (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(), room_id UUID REFERENCES realtime_rooms (id) ON DELETE CASCADE,
    user_id VARCHAR(255) NOT NULL, thread_id VARCHAR(255), started_at TIMESTAMP WITH TIME ZONE DEFAULT NOW(),
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL, UNIQUE (room_id, user_id, thread_id)
);
CREATE INDEX idx_realtime_typing_room_id ON realtime_typing (room_id);
CREATE INDEX idx_realtime_typing_user_id ON realtime_typing (user_id);
CREATE INDEX idx_realtime_typing_expires_at ON realtime_typing (expires_at);

CREATE TABLE realtime_events (
    id UUID PRIMARY KEY DEFAULT uuid_generate_v4(), event_type VARCHAR(100) NOT NULL, socket_id VARCHAR(255),
    user_id VARCHAR(255), room_id UUID REFERENCES realtime_rooms (id) ON DELETE SET NULL, payload JSONB DEFAULT '{}',
    ip_address INET, metadata JSONB DEFAULT '{}', created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW()
);
CREATE INDEX idx_realtime_events_event_type ON realtime_events (event_type);
CREATE INDEX idx_realtime_events_socket_id ON realtime_events (socket_id);
CREATE INDEX idx_realtime_events_user_id ON realtime_events (user_id);
CREATE INDEX idx_realtime_events_room_id ON realtime_events (room_id);
CREATE INDEX idx_realtime_events_created_at ON realtime_events (created_at);

CREATE VIEW realtime_active_connections AS
    SELECT c.id, c.socket_id, c.user_id, c.status, c.transport, c.connected_at, c.latency_ms, p.status AS user_status,
        p.custom_status, p.custom_emoji
    FROM realtime_connections c LEFT JOIN realtime_presence p ON c.user_id = p.user_id
    WHERE c.status = 'connected' AND c.disconnected_at IS NULL ORDER BY c.connected_at DESC;
CREATE VIEW realtime_room_stats AS
    SELECT r.id, r.name, r.type, COUNT(DISTINCT rm.user_id) AS member_count,
        COUNT(DISTINCT c.socket_id) AS active_connections, MAX(rm.last_seen) AS last_activity, r.created_at
    FROM realtime_rooms r LEFT JOIN realtime_room_members rm ON rm.room_id = r.id
        LEFT JOIN realtime_connections c ON c.user_id = rm.user_id AND c.status = 'connected'
    WHERE r.is_active GROUP BY r.id, r.name, r.type, r.created_at
    ORDER BY active_connections DESC, member_count DESC;
CREATE VIEW realtime_current_typing AS
    SELECT t.room_id, r.name AS room_name, t.user_id, t.thread_id, t.started_at, t.expires_at
    FROM realtime_typing t JOIN realtime_rooms r ON r.id = t.room_id
    WHERE t.expires_at > NOW() ORDER BY t.started_at DESC;
CREATE VIEW realtime_presence_summary AS
    SELECT status, COUNT(*) AS user_count,
        COUNT(CASE WHEN last_heartbeat > NOW() - INTERVAL '1 minute' THEN 1 END) AS recent_activity
    FROM realtime_presence GROUP BY status ORDER BY user_count DESC;

CREATE FUNCTION cleanup_expired_typing() RETURNS VOID AS $$
BEGIN DELETE FROM realtime_typing WHERE expires_at < NOW(); END $$ LANGUAGE plpgsql;
CREATE FUNCTION update_presence_from_activity() RETURNS VOID AS $$
BEGIN
    UPDATE realtime_presence SET status = 'away', updated_at = NOW() WHERE status = 'online'
        AND last_active < NOW() - INTERVAL '5 minutes' AND last_active > NOW() - INTERVAL '30 minutes';
    UPDATE realtime_presence SET status = 'offline', updated_at = NOW() WHERE status IN ('online', 'away')
        AND last_active < NOW() - INTERVAL '30 minutes';
END $$ LANGUAGE plpgsql;
CREATE FUNCTION disconnect_stale_connections() RETURNS VOID AS $$
BEGIN
    UPDATE realtime_connections SET status = 'disconnected', disconnected_at = NOW()
    WHERE status = 'connected' AND last_pong < NOW() - INTERVAL '2 minutes';
END $$ LANGUAGE plpgsql;
CREATE FUNCTION update_room_timestamp() RETURNS TRIGGER AS $$
BEGIN NEW.updated_at = NOW(); RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE FUNCTION update_presence_timestamp() RETURNS TRIGGER AS $$
BEGIN NEW.updated_at = NOW(); RETURN NEW; END $$ LANGUAGE plpgsql;
CREATE TRIGGER trigger_update_room_timestamp BEFORE UPDATE ON realtime_rooms
    FOR EACH ROW EXECUTE FUNCTION update_room_timestamp();
CREATE TRIGGER trigger_update_presence_timestamp BEFORE UPDATE ON realtime_presence
    FOR EACH ROW EXECUTE FUNCTION update_presence_timestamp();
