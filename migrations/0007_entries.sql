-- The journal: one immutable line per transfer, with a gapless sequence per account. A line moves its
-- amount from one column of the chart to another, so that it sums to zero by its shape; it carries
-- the balances after it and a hash chained to its predecessor.
-- Written by every money command in the command's own transaction; read by statements and checks.
--
-- Invariant: never updated, deleted or truncated: the runtime role may only add and read (promise 5).
CREATE TABLE entries (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    from_column text NOT NULL,
    to_column text NOT NULL,
    amount_micropoints bigint NOT NULL,
    available_after_micropoints bigint NOT NULL,
    reserved_after_micropoints bigint NOT NULL,
    spent_after_micropoints bigint NOT NULL,
    debt_after_micropoints bigint NOT NULL,
    reservation_id uuid,
    reference text,
    recorded_at timestamptz NOT NULL,
    entry_hash bytea NOT NULL,
    CONSTRAINT entries_pkey PRIMARY KEY (tenant_id, account_id, seq),
    CONSTRAINT entries_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT entries_kind CHECK (
        kind IN ('credit', 'debit', 'reserve', 'confirm', 'undo', 'finalise', 'release')
    ),
    CONSTRAINT entries_from_column CHECK (
        from_column IN ('available', 'reserved', 'spent', 'debt', 'issued', 'redeemed', 'expired', 'suspense', 'promo', 'house')
    ),
    CONSTRAINT entries_to_column CHECK (
        to_column IN ('available', 'reserved', 'spent', 'debt', 'issued', 'redeemed', 'expired', 'suspense', 'promo', 'house')
    ),
    CONSTRAINT entries_two_columns CHECK (from_column <> to_column),
    CONSTRAINT entries_amount_positive CHECK (amount_micropoints > 0),
    CONSTRAINT entries_hash_length CHECK (octet_length(entry_hash) = 32)
);

GRANT SELECT, INSERT ON entries TO stipend_runtime;

-- Credits and debits by the company's own reference, unique per account: the key that makes them safe
-- to repeat. Written with the entry; never changed.
CREATE TABLE movements (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    reference text NOT NULL,
    kind text NOT NULL,
    amount_micropoints bigint NOT NULL,
    reason text NOT NULL,
    entry_seq bigint NOT NULL,
    CONSTRAINT movements_pkey PRIMARY KEY (tenant_id, account_id, reference),
    CONSTRAINT movements_entry_fkey FOREIGN KEY (tenant_id, account_id, entry_seq) REFERENCES entries,
    CONSTRAINT movements_kind CHECK (kind IN ('credit', 'debit')),
    CONSTRAINT movements_amount_positive CHECK (amount_micropoints > 0)
);

GRANT SELECT, INSERT ON movements TO stipend_runtime;
