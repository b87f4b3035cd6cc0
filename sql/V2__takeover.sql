-- Takes over the tables of the existing realtime plugin in place; on a new database it finds nothing to do.
--
-- Every row is kept, but for typing marks that say the same twice (the plugin's unique constraint let marks without a
-- thread repeat) or belong to no room: they live for three seconds. Values outside the closed sets of V3 become the
-- nearest value inside them, since a constraint that old rows break would fail every later update of such a row; what
-- stood there is kept in metadata.before. Nothing is copied but the events of the present day.

-- What was there before this schema, written once. Rows that are counted here are outside the chain of hashes.
CREATE TABLE IF NOT EXISTS realtime_archive_origin (
    singleton    BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (singleton),
    installed_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    rows_before  BIGINT NOT NULL,
    split_day    DATE -- events of earlier days lie in realtime_events_before, if there is one
);

-- Makes the partition of one UTC day of a table that is partitioned by created_at; returns its name.
--
-- Idempotent, also under concurrency. The partition is filled first (with what the default partition has of that day)
-- and attached then, since that locks the parent against other changes of its partitions only, not against inserts.
-- Attaching locks realtime_rooms as well, where the foreign key leads to: call it by itself, not behind writes. And call
-- it before anything is written of that day: an insert that is on its way to the default partition meanwhile is refused.
CREATE OR REPLACE FUNCTION realtime_partition_day(parent REGCLASS, day DATE) RETURNS TEXT
LANGUAGE plpgsql AS $$
DECLARE
    space  NAME;
    bare   NAME;
    made   TEXT;
    placed TEXT;
    starts CONSTANT TIMESTAMPTZ := day::TIMESTAMP AT TIME ZONE 'UTC';
    ends   CONSTANT TIMESTAMPTZ := (day + 1)::TIMESTAMP AT TIME ZONE 'UTC';
BEGIN
    SELECT n.nspname, c.relname INTO STRICT space, bare
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = parent;
    made := bare || '_' || to_char(day, 'YYYYMMDD');
    placed := format('%I.%I', space, made);
    IF to_regclass(placed) IS NOT NULL THEN
        RETURN made;
    END IF;
    -- A lock on a table, since getting it is also what lets us see the tables that others have made.
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', parent);
    IF to_regclass(placed) IS NOT NULL THEN
        RETURN made;
    END IF;
    EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', placed, parent);
    -- Before its rows are looked at, so that none comes in between; attaching would take the same lock.
    EXECUTE format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', space, bare || '_default');
    EXECUTE format(
        'WITH moved AS (DELETE FROM %I.%I WHERE created_at >= %L AND created_at < %L RETURNING *) INSERT INTO %s SELECT * FROM moved',
        space, bare || '_default', starts, ends, placed);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)', parent, placed, starts, ends);
    RETURN made;
END
$$;

-- Makes the partition for the events of a UTC day; returns the name of the table that has them.
CREATE OR REPLACE FUNCTION realtime_events_day(day DATE) RETURNS TEXT
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF day < (SELECT split_day FROM realtime_archive_origin) AND to_regclass('realtime_events_before') IS NOT NULL THEN
        RETURN 'realtime_events_before';
    END IF;
    RETURN realtime_partition_day('realtime_events', day);
END
$$;

-- The triggers of the plugin would call the corrections below changes of today. V4 puts them back.
DROP TRIGGER IF EXISTS trigger_update_room_timestamp ON realtime_rooms;
DROP TRIGGER IF EXISTS trigger_update_presence_timestamp ON realtime_presence;

ALTER TABLE realtime_rooms ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE realtime_room_members ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE realtime_connections ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE realtime_presence ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE realtime_typing ALTER COLUMN id SET DEFAULT gen_random_uuid();
ALTER TABLE realtime_events ALTER COLUMN id SET DEFAULT gen_random_uuid();

-- Values outside the closed sets, and missing ones.
DO $$
DECLARE
    closed RECORD;
BEGIN
    FOR closed IN
        SELECT * FROM (VALUES
            ('realtime_rooms', 'type', 'channel,dm,group,broadcast', '{"direct": "dm"}', '''channel'''),
            -- Fails closed: whatever it meant, it did not say public.
            ('realtime_rooms', 'visibility', 'public,private,secret', '{}',
                'CASE WHEN visibility IS NULL THEN ''public'' ELSE ''private'' END'),
            ('realtime_room_members', 'role', 'admin,moderator,member,guest', '{"owner": "admin"}', '''member'''),
            ('realtime_connections', 'status', 'connected,disconnected,reconnecting', '{}', '''disconnected'''),
            ('realtime_connections', 'transport', 'websocket,polling', '{}', 'NULL'),
            ('realtime_presence', 'status', 'online,away,busy,offline',
                '{"dnd": "busy", "do_not_disturb": "busy", "idle": "away", "invisible": "offline"}',
                'CASE WHEN status IS NOT NULL AND connections_count > 0 THEN ''online'' ELSE ''offline'' END')
        ) AS sets (relation, field, known, synonyms, otherwise)
    LOOP
        EXECUTE format(
            $update$
            UPDATE %1$I SET
                metadata = CASE WHEN %2$I IS NULL THEN metadata ELSE coalesce(metadata, '{}') || jsonb_build_object(
                    'before', coalesce(metadata -> 'before', '{}') || jsonb_build_object(%2$L, %2$I)) END,
                %2$I = coalesce(
                    CASE WHEN lower(btrim(%2$I)) = ANY (string_to_array(%3$L, ',')) THEN lower(btrim(%2$I)) END,
                    %4$L::JSONB ->> lower(btrim(%2$I)),
                    %5$s)
            WHERE %2$I <> ALL (string_to_array(%3$L, ',')) OR (%2$I IS NULL AND %5$L <> 'NULL')
            $update$,
            closed.relation, closed.field, closed.known, closed.synonyms, closed.otherwise);
    END LOOP;
END
$$;

-- A room of which it is not known that it is active was shown by no view.
UPDATE realtime_rooms SET is_active = FALSE WHERE is_active IS NULL;
UPDATE realtime_room_members SET is_muted = coalesce(is_muted, FALSE), is_banned = coalesce(is_banned, FALSE)
WHERE is_muted IS NULL OR is_banned IS NULL;
UPDATE realtime_presence SET connections_count = greatest(connections_count, 0)
WHERE connections_count IS NULL OR connections_count < 0;

DELETE FROM realtime_typing WHERE room_id IS NULL;
DELETE FROM realtime_typing older USING realtime_typing newer
WHERE older.room_id = newer.room_id AND older.user_id = newer.user_id
    AND older.thread_id IS NOT DISTINCT FROM newer.thread_id
    AND (older.expires_at, older.id) < (newer.expires_at, newer.id);
ALTER TABLE realtime_typing DROP CONSTRAINT IF EXISTS realtime_typing_room_id_user_id_thread_id_key;

-- A database for several applications (source_account_id) may have one name in several accounts; the gateway has one
-- world. The name stays with the account `primary`, else with whoever had it first; the others get their account behind it.
DO $$
DECLARE
    named RECORD;
BEGIN
    FOR named IN SELECT * FROM (VALUES ('realtime_rooms', 'name'), ('realtime_presence', 'user_id')) AS n (relation, field)
    LOOP
        IF EXISTS (
            SELECT FROM pg_attribute
            WHERE attrelid = named.relation::REGCLASS AND attname = 'source_account_id' AND NOT attisdropped
        ) THEN
            EXECUTE format(
                $update$
                UPDATE %1$I AS twin SET
                    metadata = coalesce(metadata, '{}') || jsonb_build_object(
                        'before', coalesce(metadata -> 'before', '{}') || jsonb_build_object(%2$L, %2$I)),
                    %2$I = left(%2$I, 254 - length(source_account_id)) || '@' || source_account_id
                FROM (
                    SELECT id, row_number() OVER (
                        PARTITION BY %2$I ORDER BY source_account_id = 'primary' DESC, created_at, id) AS place
                    FROM %1$I
                ) AS ranked
                WHERE ranked.id = twin.id AND ranked.place > 1
                $update$,
                named.relation, named.field);
        END IF;
        IF NOT EXISTS (
            SELECT FROM pg_constraint
            WHERE conrelid = named.relation::REGCLASS AND conname = format('%s_%s_key', named.relation, named.field)
        ) THEN
            EXECUTE format('ALTER TABLE %1$I ADD CONSTRAINT %3$I UNIQUE (%2$I)',
                named.relation, named.field, format('%s_%s_key', named.relation, named.field));
        END IF;
    END LOOP;
END
$$;

-- The plain table of events becomes the partition of everything before the present day: no row is copied, however many
-- there are. Of the present day it is copied, so that this day and every later one is a partition like others.
DO $$
DECLARE
    today   CONSTANT DATE := (now() AT TIME ZONE 'UTC')::DATE;
    split   DATE;
    edge    TIMESTAMPTZ;
    owned   NAME;
    old_key NAME;
    item    RECORD;
    days    DATE[];
BEGIN
    SELECT pg_get_userbyid(relowner) INTO owned FROM pg_class WHERE oid = 'realtime_events'::REGCLASS AND relkind = 'r';
    IF NOT FOUND THEN
        CREATE TABLE IF NOT EXISTS realtime_events_default PARTITION OF realtime_events DEFAULT;
        INSERT INTO realtime_archive_origin (rows_before) SELECT count(*) FROM realtime_events
        ON CONFLICT DO NOTHING;
        RETURN;
    END IF;

    LOCK TABLE realtime_events IN ACCESS EXCLUSIVE MODE;
    UPDATE realtime_events SET created_at = now() WHERE created_at IS NULL;
    -- Not later than the last day that has events: the days behind it may still get their own partitions.
    SELECT least(today, ((max(created_at) AT TIME ZONE 'UTC')::DATE + 1)) INTO split
    FROM realtime_events WHERE created_at < today::TIMESTAMP AT TIME ZONE 'UTC' AND isfinite(created_at);
    edge := split::TIMESTAMP AT TIME ZONE 'UTC';
    INSERT INTO realtime_archive_origin (rows_before, split_day) SELECT count(*), split FROM realtime_events
    ON CONFLICT (singleton) DO UPDATE SET rows_before = excluded.rows_before, split_day = excluded.split_day;

    SELECT conname INTO old_key FROM pg_constraint WHERE conrelid = 'realtime_events'::REGCLASS AND contype = 'p';
    IF FOUND THEN
        EXECUTE format('ALTER TABLE realtime_events DROP CONSTRAINT %I', old_key);
    END IF;
    ALTER TABLE realtime_events RENAME TO realtime_events_before;
    FOR item IN
        SELECT c.oid::REGCLASS AS index, c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indrelid = 'realtime_events_before'::REGCLASS
    LOOP
        EXECUTE format('ALTER INDEX %s RENAME TO %I',
            item.index, left(replace(item.relname, 'realtime_events', 'realtime_events_before'), 63));
    END LOOP;
    ALTER TABLE realtime_events_before ADD CONSTRAINT realtime_events_before_pkey PRIMARY KEY (id, created_at);

    -- Like the old one, so that columns that somebody added are there as well.
    CREATE TABLE realtime_events (LIKE realtime_events_before INCLUDING ALL EXCLUDING INDEXES EXCLUDING STATISTICS)
        PARTITION BY RANGE (created_at);
    ALTER TABLE realtime_events ADD CONSTRAINT realtime_events_pkey PRIMARY KEY (id, created_at);
    ALTER TABLE realtime_events ADD CONSTRAINT realtime_events_room_id_fkey
        FOREIGN KEY (room_id) REFERENCES realtime_rooms (id) ON DELETE SET NULL;
    IF owned <> current_user THEN
        EXECUTE format('ALTER TABLE realtime_events OWNER TO %I', owned);
    END IF;
    FOR item IN
        SELECT acl.privilege_type, acl.is_grantable,
            CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END AS grantee
        FROM pg_class c, aclexplode(c.relacl) AS acl
        WHERE c.oid = 'realtime_events_before'::REGCLASS AND acl.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON realtime_events TO %s %s', item.privilege_type, item.grantee,
            CASE WHEN item.is_grantable THEN 'WITH GRANT OPTION' ELSE '' END);
    END LOOP;
    CREATE TABLE realtime_events_default PARTITION OF realtime_events DEFAULT;

    -- What is as old as the day, and what a clock that went wrong has put later: days after tomorrow stay in the default.
    WITH moved AS (DELETE FROM realtime_events_before WHERE created_at >= edge RETURNING *)
    INSERT INTO realtime_events_default SELECT * FROM moved;
    EXECUTE format('ALTER TABLE realtime_events ATTACH PARTITION realtime_events_before FOR VALUES FROM (MINVALUE) TO (%L)', edge);
    -- First all days, then their partitions: a query that still reads a table keeps it from being changed.
    days := ARRAY(
        SELECT DISTINCT (created_at AT TIME ZONE 'UTC')::DATE FROM realtime_events_default
        WHERE created_at < (today + 2)::TIMESTAMP AT TIME ZONE 'UTC');
    FOREACH split IN ARRAY days
    LOOP
        PERFORM realtime_events_day(split);
    END LOOP;
END
$$;
