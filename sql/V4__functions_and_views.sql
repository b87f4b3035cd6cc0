-- The five functions, two triggers and four views of the existing plugin, by their names, columns and order.
--
-- The gateway calls none of the first three functions: it ends what ends. They are for schedules that called them
-- before, and for rows that no gateway keeps; what a gateway keeps up to date they leave alone.

-- Removes typing marks that have run out.
CREATE OR REPLACE FUNCTION cleanup_expired_typing() RETURNS VOID
LANGUAGE sql SET search_path FROM CURRENT AS $$
    DELETE FROM realtime_typing WHERE expires_at < now();
$$;

-- Ends connections of which nothing has been heard: for 2 minutes, or for a day where a gateway wrote the row.
--
-- A gateway's rows end by its leases. Where they look stale it is mostly the archive that was away, so they are only
-- taken for ended when nothing has written to them for so long that no lease of any setting can have lasted.
CREATE OR REPLACE FUNCTION disconnect_stale_connections() RETURNS VOID
LANGUAGE sql SET search_path FROM CURRENT AS $$
    UPDATE realtime_connections SET status = 'disconnected', disconnected_at = now()
    WHERE status IN ('connected', 'reconnecting')
        AND greatest(connected_at, last_ping, last_pong) <
            now() - CASE WHEN metadata ? 'connection' THEN INTERVAL '1 day' ELSE INTERVAL '2 minutes' END;
$$;

-- Corrects statuses of users who are gone without having been seen off: away after 5 minutes without activity, offline
-- after 30.
--
-- Only of users who have no connection, and whose heartbeat has stopped (for 2 minutes, or for a day where a gateway
-- wrote the row): of everybody else the gateway knows better, be it that somebody chose to be shown as busy or online.
CREATE OR REPLACE FUNCTION update_presence_from_activity() RETURNS VOID
LANGUAGE sql SET search_path FROM CURRENT AS $$
    UPDATE realtime_presence AS p SET
        status = CASE WHEN p.last_active < now() - INTERVAL '30 minutes' THEN 'offline' ELSE 'away' END,
        connections_count = 0,
        updated_at = now()
    WHERE p.last_heartbeat < now() - CASE WHEN p.version IS NULL THEN INTERVAL '2 minutes' ELSE INTERVAL '1 day' END
        AND (p.status IN ('online', 'away', 'busy') AND p.last_active < now() - INTERVAL '30 minutes'
            OR p.status = 'online' AND p.last_active < now() - INTERVAL '5 minutes')
        AND NOT EXISTS (
            SELECT FROM realtime_connections AS c
            WHERE c.user_id = p.user_id AND c.status IN ('connected', 'reconnecting'));
$$;

CREATE OR REPLACE FUNCTION update_room_timestamp() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION update_presence_timestamp() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER trigger_update_room_timestamp BEFORE UPDATE ON realtime_rooms
    FOR EACH ROW EXECUTE FUNCTION update_room_timestamp();
CREATE OR REPLACE TRIGGER trigger_update_presence_timestamp BEFORE UPDATE ON realtime_presence
    FOR EACH ROW EXECUTE FUNCTION update_presence_timestamp();

CREATE OR REPLACE VIEW realtime_active_connections AS
SELECT
    c.id, c.socket_id, c.user_id, c.status, c.transport, c.connected_at, c.latency_ms,
    p.status AS user_status, p.custom_status, p.custom_emoji
FROM realtime_connections AS c
LEFT JOIN realtime_presence AS p ON p.user_id = c.user_id
WHERE c.status = 'connected' AND c.disconnected_at IS NULL
ORDER BY c.connected_at DESC;

-- Members are those who have joined: not who merely has a role, a mute or a ban.
CREATE OR REPLACE VIEW realtime_room_stats AS
SELECT
    r.id, r.name, r.type,
    count(DISTINCT m.user_id) AS member_count,
    count(DISTINCT c.socket_id) AS active_connections,
    max(m.last_seen) AS last_activity,
    r.created_at
FROM realtime_rooms AS r
LEFT JOIN realtime_room_members AS m ON m.room_id = r.id AND m.is_joined
LEFT JOIN realtime_connections AS c ON c.user_id = m.user_id AND c.status = 'connected'
WHERE r.is_active
GROUP BY r.id, r.name, r.type, r.created_at
ORDER BY active_connections DESC, member_count DESC;

CREATE OR REPLACE VIEW realtime_current_typing AS
SELECT t.room_id, r.name AS room_name, t.user_id, t.thread_id, t.started_at, t.expires_at
FROM realtime_typing AS t
JOIN realtime_rooms AS r ON r.id = t.room_id
WHERE t.expires_at > now()
ORDER BY t.started_at DESC;

CREATE OR REPLACE VIEW realtime_presence_summary AS
SELECT
    status,
    count(*) AS user_count,
    count(*) FILTER (WHERE last_heartbeat > now() - INTERVAL '1 minute') AS recent_activity
FROM realtime_presence
GROUP BY status
ORDER BY user_count DESC;
