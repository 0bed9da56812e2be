-- Growth: what is only added to is partitioned by the month (UTC), so that old months can leave the database
-- whole; and closed reservations move to an archive, so that the table that every try looks into holds what
-- commands still need. The worker with the maintenance role does all of it; `docs/operations.md` says how.
--
-- A partitioned table has no foreign keys and no default partition, and belongs to the maintenance role. Its
-- partitions are made apart and attached, some months ahead; a row for which there is none is refused.
ALTER TABLE entries OWNER TO stipend_maintenance;
ALTER TABLE outbox OWNER TO stipend_maintenance;

-- Reservations that closed longer ago than biz ids are remembered, with their grants and legs: the same rows
-- as they were, behind the time at which they were moved. Written once; read by look-ups, by the repeat of a
-- very old confirm, cancel or keyed request, and by verification.
--
-- What is moved: TCC reservations, final sponsorships, and released attempts that a later one has followed.
-- What is not: the latest attempt on a slot while it is released, because it may still land late or be tried
-- again.
CREATE TABLE archived_reservations (
    archived_at timestamptz NOT NULL,
    LIKE reservations INCLUDING CONSTRAINTS,
    CONSTRAINT archived_reservations_pkey PRIMARY KEY (tenant_id, account_id, reservation_id, archived_at),
    CONSTRAINT archived_reservations_closed CHECK (state NOT IN ('open', 'settled_provisional'))
) PARTITION BY RANGE (archived_at);
-- As in `reservations`: by id alone, and by biz id.
CREATE INDEX archived_reservations_id_idx ON archived_reservations (tenant_id, reservation_id);
CREATE INDEX archived_reservations_biz_id_idx ON archived_reservations (tenant_id, account_id, biz_id)
    WHERE biz_id IS NOT NULL;

CREATE TABLE archived_grants (
    archived_at timestamptz NOT NULL,
    LIKE grants INCLUDING CONSTRAINTS,
    CONSTRAINT archived_grants_pkey PRIMARY KEY (tenant_id, account_id, reservation_id, grant_no, archived_at)
) PARTITION BY RANGE (archived_at);

CREATE TABLE archived_legs (
    archived_at timestamptz NOT NULL,
    LIKE reservation_legs INCLUDING CONSTRAINTS,
    CONSTRAINT archived_legs_pkey PRIMARY KEY (tenant_id, account_id, reservation_id, lot, archived_at)
) PARTITION BY RANGE (archived_at);

GRANT SELECT ON archived_reservations, archived_grants, archived_legs TO stipend_runtime;
ALTER TABLE archived_reservations OWNER TO stipend_maintenance;
ALTER TABLE archived_grants OWNER TO stipend_maintenance;
ALTER TABLE archived_legs OWNER TO stipend_maintenance;

-- A slot whose operation landed for good and whose reservation is in the archive. Such a slot refuses every
-- new grant for ever, although no row of `reservations` says so any more. The hash is SHA-256 of the chain's
-- id (8 bytes, big-endian), the EntryPoint, the sender and the nonce.
-- Written with the move; read by grants in slots that `reservations` does not know; never changed.
CREATE TABLE closed_slots (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    slot_hash bytea NOT NULL,
    reservation_id uuid NOT NULL,
    CONSTRAINT closed_slots_pkey PRIMARY KEY (tenant_id, account_id, slot_hash),
    CONSTRAINT closed_slots_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT closed_slots_hash_length CHECK (octet_length(slot_hash) = 32)
);

GRANT SELECT ON closed_slots TO stipend_runtime;
GRANT SELECT, INSERT ON closed_slots TO stipend_maintenance;
GRANT SELECT, DELETE ON reservations, grants, reservation_legs TO stipend_maintenance;
GRANT SELECT ON tenants, accounts, chain_events, checkpoints TO stipend_maintenance;

-- What is in `reservations` and in the archive, as one: for look-ups and checks.
-- `is_misshapen` says that a row lacks what its kind and state must hold: none does, unless Stipend has a defect.
-- Who reads a reservation refuses such a row; verification names it; tests look here after everything they do.
CREATE VIEW every_reservation AS
    SELECT r.*, (CASE r.kind
        WHEN 'tcc' THEN r.biz_id IS NOT NULL AND r.chain_id IS NULL
            AND r.state <> 'settled_provisional'
            AND (r.state = 'released' OR r.requested_micropoints IS NOT NULL)
            AND (r.state <> 'settled_final' OR r.settled_micropoints IS NOT NULL)
            AND (r.state <> 'rejected' OR r.rejected_available_micropoints IS NOT NULL)
        ELSE r.biz_id IS NULL AND r.expires_at IS NULL AND r.state <> 'rejected'
            AND num_nulls(r.app_id, r.chain_id, r.price_source, r.price_block, r.last_valid_until) = 0
            AND octet_length(r.entry_point) = 20 AND octet_length(r.sender) = 20
            AND octet_length(r.nonce) = 32 AND octet_length(r.paymaster) = 20
            AND r.attempt >= 1 AND r.micropoints_per_e18_wei >= 1 AND r.markup_bps >= 0
            AND (r.state NOT IN ('settled_provisional', 'settled_final')
                OR (num_nulls(r.settled_block_number, r.settled_block_timestamp, r.settled_success) = 0
                    AND octet_length(r.settled_block_hash) = 32
                    AND octet_length(r.settled_user_op_hash) = 32
                    AND octet_length(r.settled_transaction_hash) = 32
                    AND r.settled_log_index >= 0 AND r.settled_visit >= 1
                    AND r.settled_before IN ('open', 'released')
                    AND least(r.from_reserved_micropoints, r.from_available_micropoints,
                        r.from_debt_micropoints, r.settled_gas_cost_wei) >= 0
                    AND num_nulls(r.from_reserved_micropoints, r.from_available_micropoints,
                        r.from_debt_micropoints, r.settled_gas_cost_wei) = 0))
    END) IS NOT TRUE AS is_misshapen
    FROM (
        SELECT r.*, false AS is_archived FROM reservations r
        UNION ALL
        SELECT a.tenant_id, a.account_id, a.reservation_id, a.kind, a.state, a.reserved_micropoints, a.opened_at,
            a.changed_at, a.biz_id, a.requested_micropoints, a.expires_at, a.settled_micropoints,
            a.rejected_available_micropoints, a.expiry_swept, a.app_id, a.chain_id, a.entry_point, a.sender,
            a.nonce, a.attempt, a.paymaster, a.closing, a.micropoints_per_e18_wei, a.markup_bps, a.price_source,
            a.price_block, a.last_valid_until, a.window_swept, a.settled_block_number, a.settled_block_hash,
            a.settled_block_timestamp, a.settled_log_index, a.settled_visit, a.settled_before,
            a.from_reserved_micropoints, a.from_available_micropoints, a.from_debt_micropoints,
            a.settled_gas_cost_wei, a.settled_success, a.settled_user_op_hash, a.settled_transaction_hash, true
        FROM archived_reservations a
    ) r;

CREATE VIEW every_leg AS
    SELECT l.* FROM reservation_legs l
    UNION ALL
    SELECT a.tenant_id, a.account_id, a.reservation_id, a.lot, a.reserved_micropoints,
        a.settled_micropoints, a.returned_micropoints, a.taken_micropoints
    FROM archived_legs a;

GRANT SELECT ON every_reservation, every_leg TO stipend_runtime;

-- The months that leave the database, each with how far it is. The state only says what has been done; whether
-- a partition is attached is what PostgreSQL's own catalogue says.
--   prepared   every account with a line in it has a verified checkpoint (entries), or its sums are kept
--   exported   it stands in a file, whose digest is here
--   dropped    the file was read back equal, and the table is gone
-- Written by the maintenance worker; read by verification and by `stipend admin ledger partitions`.
CREATE TABLE archived_partitions (
    partition_name text NOT NULL,
    parent_table text NOT NULL,
    from_time timestamptz NOT NULL,
    until_time timestamptz NOT NULL,
    state text NOT NULL,
    prepared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    row_count bigint,
    file_name text,
    file_sha256 bytea,
    exported_at timestamptz,
    dropped_at timestamptz,
    CONSTRAINT archived_partitions_pkey PRIMARY KEY (partition_name),
    CONSTRAINT archived_partitions_period CHECK (from_time < until_time),
    CONSTRAINT archived_partitions_state CHECK (state IN ('prepared', 'exported', 'dropped')),
    CONSTRAINT archived_partitions_file CHECK (
        (state = 'prepared') = (exported_at IS NULL)
        AND (state = 'prepared'
            OR (row_count >= 0 AND file_name IS NOT NULL AND octet_length(file_sha256) = 32))
    ),
    CONSTRAINT archived_partitions_dropped CHECK ((state = 'dropped') = (dropped_at IS NOT NULL))
);

-- What the archived reservations of a month have spent, by account: what verification adds once the month
-- has left the database.
CREATE TABLE archived_sums (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    partition_name text NOT NULL,
    spent_micropoints bigint NOT NULL,
    CONSTRAINT archived_sums_pkey PRIMARY KEY (tenant_id, account_id, partition_name),
    CONSTRAINT archived_sums_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT archived_sums_not_negative CHECK (spent_micropoints >= 0)
);

-- Which worker maintains: one row, so that two workers do not do the same work. Nothing rests on it: every
-- step may be taken twice.
CREATE TABLE maintenance_turns (
    turn integer NOT NULL,
    holder uuid,
    held_until timestamptz NOT NULL DEFAULT '-infinity',
    CONSTRAINT maintenance_turns_pkey PRIMARY KEY (turn),
    CONSTRAINT maintenance_turns_one CHECK (turn = 1)
);
INSERT INTO maintenance_turns (turn) VALUES (1);

GRANT SELECT ON archived_partitions, archived_sums TO stipend_runtime;
GRANT SELECT, INSERT, UPDATE ON archived_partitions, archived_sums, maintenance_turns TO stipend_maintenance;
