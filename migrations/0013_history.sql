-- What is kept about the journal beside the journal: where it was found in order, what was anchored
-- outside, and statements under way. None of it is needed to rebuild a balance.

-- How far an account's journal and reservations were recomputed and agreed. Written and read by
-- `stipend admin ledger verify`, which may begin there next time; and written before a month of entries
-- leaves for the archive, of each account where it stood at the month's end.
--
-- Invariant: never changed; a checkpoint is as good as the hand that could write it, no better.
CREATE TABLE checkpoints (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    available_micropoints bigint NOT NULL,
    reserved_micropoints bigint NOT NULL,
    spent_micropoints bigint NOT NULL,
    debt_micropoints bigint NOT NULL,
    entry_hash bytea NOT NULL,
    recorded_at timestamptz NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT checkpoints_pkey PRIMARY KEY (tenant_id, account_id, seq),
    CONSTRAINT checkpoints_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT checkpoints_seq CHECK (seq >= 1),
    CONSTRAINT checkpoints_not_negative CHECK (
        least(available_micropoints, reserved_micropoints, spent_micropoints, debt_micropoints) >= 0
    ),
    CONSTRAINT checkpoints_hash_length CHECK (octet_length(entry_hash) = 32)
);

GRANT SELECT, INSERT ON checkpoints TO stipend_runtime;

-- One Merkle root a day over the heads of all accounts as the day began (UTC). Small, on every shard.
-- Written once a day by whichever worker comes first; copied to a file outside the database, which is
-- what makes it worth anything; never changed.
CREATE TABLE anchors (
    day date NOT NULL,
    incarnation integer NOT NULL,
    account_count bigint NOT NULL,
    entry_count bigint NOT NULL,
    root bytea NOT NULL,
    anchored_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT anchors_pkey PRIMARY KEY (day),
    CONSTRAINT anchors_counts CHECK (account_count >= 0 AND entry_count >= account_count),
    CONSTRAINT anchors_root_length CHECK (octet_length(root) = 32)
);

GRANT SELECT, INSERT ON anchors TO stipend_runtime;

-- Statements that are too long to be written while the caller waits. The row is the job: what it
-- covers is fixed when it is made, because its period is over by then; a worker moves `done_seq` up to
-- `closing_seq` one part at a time. Removed some days after it is done: it can be made again.
CREATE TABLE statements (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    statement_id uuid NOT NULL,
    format text NOT NULL,
    from_time timestamptz NOT NULL,
    until_time timestamptz NOT NULL,
    opening_seq bigint NOT NULL,
    closing_seq bigint NOT NULL,
    done_seq bigint NOT NULL,
    parts integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'running',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    CONSTRAINT statements_pkey PRIMARY KEY (tenant_id, account_id, statement_id),
    CONSTRAINT statements_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    -- The same statement asked for again is the same job.
    CONSTRAINT statements_period_key UNIQUE (tenant_id, account_id, from_time, until_time, format),
    CONSTRAINT statements_format CHECK (format IN ('csv', 'json')),
    CONSTRAINT statements_state CHECK (state IN ('running', 'done', 'failed')),
    CONSTRAINT statements_period CHECK (from_time < until_time),
    CONSTRAINT statements_progress CHECK (
        opening_seq >= 0 AND done_seq >= opening_seq AND closing_seq >= done_seq AND parts >= 0
        AND (state <> 'done' OR done_seq = closing_seq)
    ),
    CONSTRAINT statements_finished CHECK ((state = 'running') = (finished_at IS NULL))
);

-- Look-up by id alone.
CREATE INDEX statements_id_idx ON statements (tenant_id, statement_id);
-- The workers' way to what is to be written, and to what is to be removed. The table is small.
CREATE INDEX statements_work_idx ON statements (created_at) WHERE finished_at IS NULL;
CREATE INDEX statements_finished_idx ON statements (finished_at);

-- What has been written of them, in order. Written once; removed with the statement.
CREATE TABLE statement_parts (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    statement_id uuid NOT NULL,
    part integer NOT NULL,
    content bytea NOT NULL,
    CONSTRAINT statement_parts_pkey PRIMARY KEY (tenant_id, account_id, statement_id, part),
    CONSTRAINT statement_parts_statement_fkey
        FOREIGN KEY (tenant_id, account_id, statement_id) REFERENCES statements,
    CONSTRAINT statement_parts_part CHECK (part >= 1)
);

GRANT SELECT, INSERT, DELETE ON statements, statement_parts TO stipend_runtime;
GRANT UPDATE (done_seq, parts, state, finished_at) ON statements TO stipend_runtime;
