-- Pages of a room's history go by seq, across its epochs: the numbers go on from one to the next.
CREATE INDEX IF NOT EXISTS idx_realtime_messages_room_seq ON realtime_messages (room_name, seq DESC);
