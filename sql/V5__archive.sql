-- The archive's own books: how far each partition of the outbox has come, and the chain of hashes over its batches.
-- How a hash is made: src/archive/chain.rs.

-- One row per partition, locked by whoever writes a batch of it.
CREATE TABLE IF NOT EXISTS realtime_archive_heads (
    partition   SMALLINT PRIMARY KEY CHECK (partition BETWEEN 0 AND 63),
    incarnation TEXT NOT NULL, -- of the partition's data in Redis
    last_id     TEXT NOT NULL DEFAULT '0-0', -- the last stream entry that is in Postgres
    gone        BIGINT NOT NULL DEFAULT 0, -- entries that have left, or may leave, the stream with our knowledge
    batch       BIGINT NOT NULL DEFAULT 0 CHECK (batch >= 0),
    hash        BYTEA NOT NULL DEFAULT decode(repeat('00', 32), 'hex') CHECK (octet_length(hash) = 32),
    updated_at  TIMESTAMPTZ NOT NULL DEFAULT now()
);

-- One row per batch that has events: a partition's, of one UTC day, from one transaction.
CREATE TABLE IF NOT EXISTS realtime_archive_batches (
    partition   SMALLINT NOT NULL CHECK (partition BETWEEN 0 AND 63),
    batch       BIGINT NOT NULL CHECK (batch > 0),
    day         DATE NOT NULL,
    incarnation TEXT NOT NULL,
    first_id    TEXT NOT NULL,
    last_id     TEXT NOT NULL,
    rows        INTEGER NOT NULL CHECK (rows > 0),
    digest      BYTEA NOT NULL CHECK (octet_length(digest) = 32), -- over the rows
    hash        BYTEA NOT NULL CHECK (octet_length(hash) = 32), -- over the hash before and the digest
    created_at  TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, batch)
);
CREATE INDEX IF NOT EXISTS idx_realtime_archive_batches_day ON realtime_archive_batches (day);

-- The last batch that went with a dropped day, and its hash: where the chain that is left begins.
CREATE TABLE IF NOT EXISTS realtime_archive_anchors (
    partition  SMALLINT NOT NULL CHECK (partition BETWEEN 0 AND 63),
    batch      BIGINT NOT NULL CHECK (batch > 0),
    hash       BYTEA NOT NULL CHECK (octet_length(hash) = 32),
    dropped_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    PRIMARY KEY (partition, batch)
);
