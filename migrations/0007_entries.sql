-- The journal: one immutable line per transfer, with a gapless sequence per account. A line moves its
-- amount from one column of the chart to another, so that it sums to zero by its shape; it carries
-- the balances after it and a hash over all it says and its predecessor's hash, back to a genesis
-- that is the account's own.
-- Written by every money command in the command's own transaction; read by statements and checks.
--
-- Partitioned by the month (UTC) in which a line was recorded: see `0015_archive.sql`. A unique key of a
-- partitioned table must contain the time, so that this one does not keep a sequence from being taken twice
-- by itself. The account's row does: it is locked by who writes, holds the last sequence, and moves by
-- compare-and-set on it. Verification and the hash chain show that it did.
--
-- Invariant: never updated, deleted or truncated: the runtime role may only add and read (promise 5).
CREATE DOMAIN entry_kind AS text CONSTRAINT entry_kind_known CHECK (
    VALUE IN ('credit', 'debit', 'reserve', 'confirm', 'undo', 'finalise', 'release', 'expire')
);
CREATE DOMAIN ledger_column AS text CONSTRAINT ledger_column_known CHECK (
    VALUE IN ('available', 'reserved', 'spent', 'debt', 'issued', 'redeemed', 'expired', 'suspense', 'promo', 'house')
);

CREATE DOMAIN positive_micropoints AS bigint CONSTRAINT micropoints_positive CHECK (VALUE > 0);

CREATE TABLE entries (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    kind entry_kind NOT NULL,
    from_column ledger_column NOT NULL,
    to_column ledger_column NOT NULL,
    amount_micropoints positive_micropoints NOT NULL,
    available_after_micropoints bigint NOT NULL,
    reserved_after_micropoints bigint NOT NULL,
    spent_after_micropoints bigint NOT NULL,
    debt_after_micropoints bigint NOT NULL,
    reservation_id uuid,
    reference text,
    -- The life of the database that wrote it: see `incarnations`.
    incarnation integer NOT NULL,
    recorded_at timestamptz NOT NULL,
    entry_hash bytea NOT NULL,
    -- Which points, where they are not the default bucket's: see `buckets`.
    bucket text,
    bucket_expires_at timestamptz,
    CONSTRAINT entries_pkey PRIMARY KEY (tenant_id, account_id, seq, recorded_at)
) PARTITION BY RANGE (recorded_at);

GRANT SELECT, INSERT ON entries TO stipend_runtime;

-- Credits and debits by the company's own reference, unique per account: the key that makes them safe
-- to repeat. Written with the entry; never changed. It holds all that the answer says, so that a repeat
-- needs no entry, which may have gone to an archive.
CREATE TABLE movements (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    reference text NOT NULL,
    kind text NOT NULL,
    amount_micropoints bigint NOT NULL,
    reason text NOT NULL,
    entry_seq bigint NOT NULL,
    available_after_micropoints bigint NOT NULL,
    debt_after_micropoints bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- Which points a credit was asked to give.
    bucket text,
    bucket_expires_at timestamptz,
    CONSTRAINT movements_pkey PRIMARY KEY (tenant_id, account_id, reference),
    CONSTRAINT movements_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT movements_kind CHECK (kind IN ('credit', 'debit')),
    CONSTRAINT movements_amount_positive CHECK (amount_micropoints > 0),
    CONSTRAINT movements_after_not_negative CHECK (
        least(available_after_micropoints, debt_after_micropoints) >= 0
    )
);

GRANT SELECT, INSERT ON movements TO stipend_runtime;
