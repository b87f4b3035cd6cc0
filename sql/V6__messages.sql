-- What was said, where messages are kept (REALTIME_PERSIST_MESSAGES): once per room, epoch and seq. A message keeps its
-- time, so that a key which also has the time, as a partitioned table's must, says the same.
CREATE TABLE IF NOT EXISTS realtime_messages (
    room_name  VARCHAR(255) NOT NULL,
    epoch      TEXT NOT NULL,
    seq        BIGINT NOT NULL,
    user_id    VARCHAR(255),
    message_id TEXT,
    content    JSONB NOT NULL, -- the event's object, as clients got it
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (room_name, epoch, seq, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE IF NOT EXISTS realtime_messages_default PARTITION OF realtime_messages DEFAULT;

-- Makes the partition for the messages of a UTC day; returns its name.
CREATE OR REPLACE FUNCTION realtime_messages_day(day DATE) RETURNS TEXT
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    RETURN realtime_partition_day('realtime_messages', day);
END
$$;
