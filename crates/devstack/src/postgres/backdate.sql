-- Moves everything that was recorded so far into the past: see `TestDatabase::backdate`. The hash of a line is
-- written here once more, apart from the program, as `docs/ledger.md` describes it.
CREATE FUNCTION pg_temp.earlier(id uuid, span interval) RETURNS uuid LANGUAGE sql AS $$
    -- The first 48 bits of an id are its time in milliseconds (UUID version 7).
    SELECT (lpad(to_hex(('x' || left(h, 12))::bit(48)::bigint - (extract(epoch FROM span) * 1000)::bigint), 12, '0')
        || right(h, 20))::uuid FROM (SELECT replace(id::text, '-', '') AS h) AS hex
$$;

CREATE FUNCTION pg_temp.sized(text) RETURNS bytea LANGUAGE sql AS $$
    SELECT int4send(octet_length(convert_to($1, 'UTF8'))) || convert_to($1, 'UTF8')
$$;

DO $$
DECLARE
    span interval := make_interval(days => current_setting('backdate.days')::int);
    first date := date_trunc('month', clock_timestamp() - span)::date;
    account record;
    line record;
    hash bytea;
BEGIN
    SET LOCAL session_replication_role = replica;
    WHILE first < date_trunc('month', clock_timestamp() - interval '1 month') LOOP
        FOR account IN SELECT unnest(ARRAY['entries', 'outbox', 'archived_reservations', 'archived_grants',
            'archived_legs']) AS parent
        LOOP
            IF to_regclass(account.parent || to_char(first, '_YYYY_MM')) IS NULL THEN
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                    account.parent || to_char(first, '_YYYY_MM'), account.parent, first || ' 00:00:00+00',
                    (first + interval '1 month')::date || ' 00:00:00+00');
                EXECUTE format('ALTER TABLE %I OWNER TO stipend_maintenance',
                    account.parent || to_char(first, '_YYYY_MM'));
            END IF;
        END LOOP;
        first := first + interval '1 month';
    END LOOP;
    UPDATE accounts SET recorded_at = recorded_at - span;
    UPDATE movements SET recorded_at = recorded_at - span;
    UPDATE outbox SET recorded_at = recorded_at - span,
        reservation_id = pg_temp.earlier(reservation_id, span);
    UPDATE command_keys SET recorded_at = recorded_at - span,
        reservation_id = pg_temp.earlier(reservation_id, span);
    UPDATE grants SET recorded_at = recorded_at - span,
        reservation_id = pg_temp.earlier(reservation_id, span);
    UPDATE reservations SET opened_at = opened_at - span, changed_at = changed_at - span,
        reservation_id = pg_temp.earlier(reservation_id, span);
    UPDATE reservation_legs SET reservation_id = pg_temp.earlier(reservation_id, span);
    UPDATE entries SET recorded_at = recorded_at - span,
        reservation_id = pg_temp.earlier(reservation_id, span);
    FOR account IN SELECT tenant_id, account_id FROM accounts LOOP
        hash := sha256('stipend journal 1'::bytea || uuid_send(account.tenant_id) || uuid_send(account.account_id));
        FOR line IN SELECT * FROM entries e
            WHERE e.tenant_id = account.tenant_id AND e.account_id = account.account_id ORDER BY seq
        LOOP
            hash := sha256(hash || int4send(line.incarnation) || int8send(line.seq)
                || pg_temp.sized(line.kind) || pg_temp.sized(line.from_column) || pg_temp.sized(line.to_column)
                || int8send(line.amount_micropoints) || int8send(line.available_after_micropoints)
                || int8send(line.reserved_after_micropoints) || int8send(line.spent_after_micropoints)
                || int8send(line.debt_after_micropoints)
                || coalesce('\x01'::bytea || uuid_send(line.reservation_id), '\x00')
                || coalesce('\x01'::bytea || pg_temp.sized(line.reference), '\x00')
                || coalesce('\x01'::bytea || pg_temp.sized(line.bucket) || coalesce('\x01'::bytea
                    || int8send((extract(epoch FROM line.bucket_expires_at) * 1000000)::bigint), '\x00'), '\x00')
                || int8send((extract(epoch FROM line.recorded_at) * 1000000)::bigint));
            UPDATE entries e SET entry_hash = hash WHERE e.tenant_id = line.tenant_id
                AND e.account_id = line.account_id AND e.seq = line.seq;
        END LOOP;
        UPDATE accounts a SET entry_hash = hash
        WHERE a.tenant_id = account.tenant_id AND a.account_id = account.account_id;
    END LOOP;
END
$$;
