-- Points set aside: for one attempt on a slot (sponsorship), or for a biz id (TCC). The machines of
-- `domain::ledger` decide every transition; `store` writes it under the account's lock.
-- Read by look-ups, appliers and the releaser.
--
-- Invariant: the sum of what open and provisionally settled reservations still hold equals the
-- account's reserved column (promise 5); a slot has at most one attempt that is not released.
-- No index names `state`, so that a transition stays a HOT update.
CREATE TABLE reservations (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    reservation_id uuid NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    reserved_micropoints bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    -- TCC: the terms are absent in a tombstone, whose try never came.
    biz_id text,
    requested_micropoints bigint,
    expires_at timestamptz,
    settled_micropoints bigint,
    rejected_available_micropoints bigint,
    -- Sponsorship: the slot, the attempt, the price.
    app_id uuid,
    chain_id bigint,
    entry_point bytea,
    sender bytea,
    nonce bytea,
    attempt integer,
    paymaster bytea,
    closing boolean NOT NULL DEFAULT false,
    micropoints_per_e18_wei bigint,
    markup_bps integer,
    price_source text,
    price_block bigint,
    last_valid_until bigint,
    -- Sponsorship: the event that settled it, and from which columns the cost came.
    settled_block_number bigint,
    settled_block_hash bytea,
    settled_block_timestamp bigint,
    settled_log_index integer,
    settled_visit integer,
    settled_before text,
    from_reserved_micropoints bigint,
    from_available_micropoints bigint,
    from_debt_micropoints bigint,
    settled_gas_cost_wei numeric(78, 0),
    settled_success boolean,
    settled_user_op_hash bytea,
    settled_transaction_hash bytea,
    CONSTRAINT reservations_pkey PRIMARY KEY (tenant_id, account_id, reservation_id),
    CONSTRAINT reservations_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT reservations_biz_id_key UNIQUE (tenant_id, account_id, biz_id),
    CONSTRAINT reservations_attempt_key UNIQUE (tenant_id, account_id, chain_id, entry_point, sender, nonce, attempt),
    CONSTRAINT reservations_kind CHECK (kind IN ('tcc', 'sponsorship')),
    CONSTRAINT reservations_state CHECK (
        state IN ('open', 'settled_provisional', 'settled_final', 'released', 'rejected')
    ),
    CONSTRAINT reservations_reserved_not_negative CHECK (reserved_micropoints >= 0),
    CONSTRAINT reservations_tcc_shape CHECK (
        kind <> 'tcc'
        OR (biz_id IS NOT NULL AND chain_id IS NULL AND state <> 'settled_provisional'
            AND (state = 'released' OR requested_micropoints IS NOT NULL)
            AND (state <> 'settled_final' OR settled_micropoints IS NOT NULL)
            AND (state <> 'rejected' OR rejected_available_micropoints IS NOT NULL))
    ),
    CONSTRAINT reservations_sponsorship_shape CHECK (
        kind <> 'sponsorship'
        OR (biz_id IS NULL AND state <> 'rejected' AND app_id IS NOT NULL AND chain_id IS NOT NULL
            AND octet_length(entry_point) = 20 AND octet_length(sender) = 20
            AND octet_length(nonce) = 32 AND octet_length(paymaster) = 20
            AND attempt >= 1 AND micropoints_per_e18_wei >= 1 AND markup_bps >= 0
            AND price_source IS NOT NULL AND price_block IS NOT NULL AND last_valid_until IS NOT NULL)
    ),
    CONSTRAINT reservations_settlement_shape CHECK (
        kind <> 'sponsorship' OR state NOT IN ('settled_provisional', 'settled_final')
        OR (settled_block_number IS NOT NULL AND octet_length(settled_block_hash) = 32
            AND settled_block_timestamp IS NOT NULL AND settled_log_index >= 0 AND settled_visit >= 1
            AND settled_before IN ('open', 'released') AND from_reserved_micropoints >= 0
            AND from_available_micropoints >= 0 AND from_debt_micropoints >= 0
            AND settled_gas_cost_wei >= 0 AND settled_success IS NOT NULL
            AND octet_length(settled_user_op_hash) = 32 AND octet_length(settled_transaction_hash) = 32)
    )
) WITH (fillfactor = 70);

-- The appliers' way from an event to its reservation, across accounts.
CREATE INDEX reservations_slot_idx ON reservations (tenant_id, chain_id, sender, nonce);
-- The releaser's way to what may be past its window.
CREATE INDEX reservations_window_idx ON reservations (chain_id, last_valid_until);
-- Look-up by id alone, and the list of an account, newest first.
CREATE INDEX reservations_id_idx ON reservations (tenant_id, reservation_id);
CREATE INDEX reservations_opened_idx ON reservations (tenant_id, account_id, opened_at DESC, reservation_id DESC);

GRANT SELECT, INSERT, UPDATE ON reservations TO stipend_runtime;

-- Where a reservation's points come from, when they come from more than one place. The single-leg
-- case lives in the reservation's own row. Written by split funding and buckets; neither exists yet,
-- so the runtime role may not write here.
CREATE TABLE reservation_legs (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    reservation_id uuid NOT NULL,
    leg integer NOT NULL,
    source text NOT NULL,
    bucket text NOT NULL,
    reserved_micropoints bigint NOT NULL,
    settled_micropoints bigint NOT NULL,
    returned_micropoints bigint NOT NULL,
    CONSTRAINT reservation_legs_pkey PRIMARY KEY (tenant_id, account_id, reservation_id, leg),
    CONSTRAINT reservation_legs_reservation_fkey
        FOREIGN KEY (tenant_id, account_id, reservation_id) REFERENCES reservations,
    CONSTRAINT reservation_legs_source CHECK (source IN ('points', 'promo', 'house')),
    CONSTRAINT reservation_legs_amounts CHECK (
        reserved_micropoints >= 0 AND settled_micropoints >= 0 AND returned_micropoints >= 0
        AND settled_micropoints + returned_micropoints <= reserved_micropoints
    )
);

GRANT SELECT ON reservation_legs TO stipend_runtime;
