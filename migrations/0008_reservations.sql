-- Points set aside: for one attempt on a slot (sponsorship), or for a biz id (TCC). The machines of
-- `domain::ledger` decide every transition; `store` writes it under the account's lock.
-- Read by look-ups, appliers and the releaser.
--
-- Invariant: the sum of what open and provisionally settled reservations still hold equals the
-- account's reserved column (promise 5); a slot has at most one attempt that is not released.
-- No index names `state`, so that a transition stays a HOT update.
-- What else a row must hold by its kind and state is said by `every_reservation`, apart from the table: see
-- `accounts` on what a CHECK costs each command.
CREATE DOMAIN reservation_kind AS text CONSTRAINT reservation_kind_known CHECK (
    VALUE IN ('tcc', 'sponsorship')
);
CREATE DOMAIN reservation_state AS text CONSTRAINT reservation_state_known CHECK (
    VALUE IN ('open', 'settled_provisional', 'settled_final', 'released', 'rejected')
);

CREATE TABLE reservations (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    reservation_id uuid NOT NULL,
    kind reservation_kind NOT NULL,
    state reservation_state NOT NULL,
    reserved_micropoints micropoints NOT NULL,
    opened_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    -- TCC: the terms are absent in a tombstone, whose try never came.
    biz_id text,
    requested_micropoints bigint,
    expires_at timestamptz,
    settled_micropoints bigint,
    rejected_available_micropoints bigint,
    -- Whether the sweeper is done with `expires_at`. Written by the sweeper alone, after the
    -- reservation has closed, so that the index below holds what may be due and nothing else.
    expiry_swept boolean NOT NULL DEFAULT false,
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
    -- Whether the releaser is done with `last_valid_until`: as `expiry_swept`, written by it alone after
    -- the reservation has closed. A late landing settles it once more, and it never opens again.
    window_swept boolean NOT NULL DEFAULT false,
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
    CONSTRAINT reservations_swept_is_closed CHECK (NOT (expiry_swept OR window_swept) OR state <> 'open')
) WITH (fillfactor = 70);

-- No foreign key to accounts: a row is written under its account's lock, and a check would lock that
-- row once more for each. Each kind has indexes of its own, so that it does not pay for the other's;
-- none has a column that settling or releasing changes, so that those updates stay within their page.
CREATE UNIQUE INDEX reservations_biz_id_key ON reservations (tenant_id, account_id, biz_id)
    WHERE kind = 'tcc';
-- The sweeper's way to TCC reservations that are past their time. No command changes its columns.
CREATE INDEX reservations_expiry_idx ON reservations (expires_at, reservation_id)
    WHERE expires_at IS NOT NULL AND NOT expiry_swept;
CREATE UNIQUE INDEX reservations_attempt_key
    ON reservations (tenant_id, account_id, chain_id, entry_point, sender, nonce, attempt)
    WHERE kind = 'sponsorship';
-- The appliers' way from an event to its reservation, across accounts.
CREATE INDEX reservations_slot_idx ON reservations (tenant_id, chain_id, sender, nonce)
    WHERE kind = 'sponsorship';
-- The releaser's way to what may be past its window: what is open, and what closed a moment ago. Of its
-- columns a bump changes `last_valid_until`, and no other command any.
CREATE INDEX reservations_window_idx ON reservations (chain_id, last_valid_until)
    WHERE chain_id IS NOT NULL AND NOT window_swept;
-- Look-up by id alone, the list, newest first, and the archive's way from the oldest on.
CREATE INDEX reservations_id_idx ON reservations (tenant_id, reservation_id);

GRANT SELECT, INSERT, UPDATE ON reservations TO stipend_runtime;
