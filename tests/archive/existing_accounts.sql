-- What its later version adds for several applications in one database: an account in each table, and names that are
-- unique in their account only.

DO $$
DECLARE
    bare TEXT;
BEGIN
    FOREACH bare IN ARRAY ARRAY['connections', 'rooms', 'room_members', 'presence', 'typing', 'events'] LOOP
        EXECUTE format('ALTER TABLE realtime_%s ADD COLUMN source_account_id VARCHAR(128) NOT NULL DEFAULT ''primary''', bare);
        EXECUTE format('CREATE INDEX idx_realtime_%s_source_account ON realtime_%1$s (source_account_id)', bare);
    END LOOP;
END $$;
ALTER TABLE realtime_rooms DROP CONSTRAINT realtime_rooms_name_key;
ALTER TABLE realtime_rooms ADD CONSTRAINT realtime_rooms_name_source_account_id_key UNIQUE (name, source_account_id);
ALTER TABLE realtime_presence DROP CONSTRAINT realtime_presence_user_id_key;
ALTER TABLE realtime_presence
    ADD CONSTRAINT realtime_presence_user_id_source_account_id_key UNIQUE (user_id, source_account_id);
