-- Rows as the existing plugin leaves them: ghosts, banned members that count, an event a day and some of today.

INSERT INTO realtime_rooms (name, type, visibility, max_members, is_active, metadata, created_at, updated_at) VALUES
    ('general', 'channel', 'public', NULL, TRUE, '{"topic": "all"}', NOW() - INTERVAL '90 days', NOW() - INTERVAL '80 days'),
    ('staff', 'group', 'private', 20, TRUE, '{}', NOW() - INTERVAL '60 days', NOW() - INTERVAL '50 days'),
    ('ann-bob', 'dm', 'secret', 2, TRUE, '{}', NOW() - INTERVAL '30 days', NOW() - INTERVAL '30 days'),
    ('closed', 'broadcast', 'public', NULL, FALSE, '{}', NOW() - INTERVAL '20 days', NOW() - INTERVAL '10 days');

INSERT INTO realtime_room_members (room_id, user_id, role, is_muted, is_banned, last_seen)
SELECT r.id, m.user_id, m.role, m.is_muted, m.is_banned, NOW() - m.ago FROM realtime_rooms r JOIN (VALUES
    ('general', 'ann', 'admin', FALSE, FALSE, INTERVAL '1 hour'),
    ('general', 'bob', 'member', TRUE, FALSE, INTERVAL '2 hours'),
    ('general', 'eve', 'member', FALSE, TRUE, INTERVAL '3 days'),
    ('staff', 'ann', 'moderator', FALSE, FALSE, INTERVAL '5 hours'),
    ('ann-bob', 'bob', 'guest', FALSE, FALSE, INTERVAL '6 days')
) AS m (room, user_id, role, is_muted, is_banned, ago) ON m.room = r.name;

INSERT INTO realtime_connections
    (socket_id, user_id, status, transport, ip_address, device_info, connected_at, disconnected_at, last_pong, latency_ms)
VALUES
    ('s1', 'ann', 'connected', 'websocket', '192.0.2.1', '{"type": "web"}', NOW() - INTERVAL '1 hour', NULL, NOW(), 12),
    ('s2', 'ann', 'connected', 'polling', '192.0.2.2', NULL, NOW() - INTERVAL '9 days', NULL, NOW() - INTERVAL '9 days', NULL),
    ('s3', 'bob', 'connected', 'websocket', '2001:db8::1', NULL, NOW() - INTERVAL '2 hours', NULL, NOW(), -3),
    ('s4', 'eve', 'disconnected', 'websocket', NULL, NULL, NOW() - INTERVAL '3 days', NOW() - INTERVAL '2 days', NOW(), 5),
    ('s5', NULL, 'connected', NULL, '192.0.2.3', NULL, NOW() - INTERVAL '3 hours', NULL, NOW(), NULL);

INSERT INTO realtime_presence (user_id, status, custom_status, custom_emoji, last_heartbeat, connections_count, updated_at)
VALUES
    ('ann', 'busy', 'in a meeting', '📅', NOW() + INTERVAL '1 hour', 2, NOW() - INTERVAL '1 day'),
    ('bob', 'online', NULL, NULL, NOW() - INTERVAL '1 day', 1, NOW() - INTERVAL '1 day'),
    ('dan', 'online', NULL, NULL, NOW() - INTERVAL '1 day', 1, NOW() - INTERVAL '1 day'),
    ('fay', 'online', NULL, NULL, NOW() + INTERVAL '1 hour', 1, NOW() - INTERVAL '1 day'),
    ('eve', 'offline', NULL, NULL, NOW() - INTERVAL '2 days', 0, NOW() - INTERVAL '2 days'),
    ('gus', 'offline', NULL, NULL, NOW() - INTERVAL '2 days', 0, NOW() - INTERVAL '2 days');

INSERT INTO realtime_typing (room_id, user_id, thread_id, started_at, expires_at)
SELECT id, 'ann', 'thread-1', NOW() - INTERVAL '2 seconds', NOW() + INTERVAL '1 hour' FROM realtime_rooms WHERE name = 'general'
UNION ALL
SELECT id, 'bob', NULL, NOW() - INTERVAL '1 second', NOW() + INTERVAL '1 hour' FROM realtime_rooms WHERE name = 'general'
UNION ALL
SELECT id, 'eve', NULL, NOW() - INTERVAL '1 day', NOW() - INTERVAL '1 day' FROM realtime_rooms WHERE name = 'staff';

INSERT INTO realtime_events (event_type, socket_id, user_id, payload, ip_address, created_at)
SELECT CASE day % 2 WHEN 0 THEN 'connect' ELSE 'disconnect' END, 's' || day, 'ann',
    CASE day % 2 WHEN 0 THEN NULL ELSE '{"reason": "transport close"}'::JSONB END, '192.0.2.1',
    NOW() - day * INTERVAL '1 day'
FROM generate_series(0, 40) AS day;
INSERT INTO realtime_events (event_type, socket_id, room_id)
SELECT 'connect', 'with-room', id FROM realtime_rooms WHERE name = 'general';
