-- What the ingester has read of each chain. Events and the cursor commit together; the cursor moves
-- by compare-and-set on the parent's hash, so that two ingesters cannot both extend it. Signing rests while
-- there is a `halt_reason`, which an operator must clear, or a `doubt`, which the ingester takes back.
CREATE TABLE chain_cursors (
    chain_id bigint NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    block_timestamp bigint NOT NULL,
    final_number bigint NOT NULL,
    final_hash bytea NOT NULL,
    final_timestamp bigint NOT NULL,
    halt_reason text,
    doubt text,
    CONSTRAINT chain_cursors_pkey PRIMARY KEY (chain_id),
    CONSTRAINT chain_cursors_hash_lengths CHECK (octet_length(block_hash) = 32 AND octet_length(final_hash) = 32),
    CONSTRAINT chain_cursors_final_not_ahead CHECK (final_number <= block_number)
);

-- The headers between the final block and the head, for the walk back. `visit` counts how often a
-- block was ingested: one that was reorganised away may come back.
CREATE TABLE chain_blocks (
    chain_id bigint NOT NULL,
    block_hash bytea NOT NULL,
    block_number bigint NOT NULL,
    parent_hash bytea NOT NULL,
    block_timestamp bigint NOT NULL,
    visit integer NOT NULL,
    canonical boolean NOT NULL,
    CONSTRAINT chain_blocks_pkey PRIMARY KEY (chain_id, block_hash),
    CONSTRAINT chain_blocks_hash_lengths CHECK (octet_length(block_hash) = 32 AND octet_length(parent_hash) = 32),
    CONSTRAINT chain_blocks_visit CHECK (visit >= 1)
);
CREATE INDEX chain_blocks_number_idx ON chain_blocks (chain_id, block_number);

-- Every UserOperationEvent that names one of our paymasters, with how far it has been applied. The
-- account's own mark (`fact_marks`) decides; `progress` only spares the appliers a second look.
--
-- Not partitioned by time: it is no log that is only added to. Rows are updated until their block is final,
-- and they are found by slot, however old they are, because an event of ours in a slot keeps the slot from
-- being released for ever. There is one row for each operation that landed.
CREATE TABLE chain_events (
    chain_id bigint NOT NULL,
    block_hash bytea NOT NULL,
    log_index integer NOT NULL,
    visit integer NOT NULL,
    canonical boolean NOT NULL,
    progress text NOT NULL,
    set_aside_reason text,
    block_number bigint NOT NULL,
    block_timestamp bigint NOT NULL,
    transaction_hash bytea NOT NULL,
    entry_point bytea NOT NULL,
    user_op_hash bytea NOT NULL,
    sender bytea NOT NULL,
    paymaster bytea NOT NULL,
    nonce bytea NOT NULL,
    success boolean NOT NULL,
    actual_gas_cost_wei numeric(78, 0) NOT NULL,
    actual_gas_used numeric(39, 0) NOT NULL,
    CONSTRAINT chain_events_pkey PRIMARY KEY (chain_id, block_hash, log_index, visit),
    CONSTRAINT chain_events_progress CHECK (
        progress IN ('pending', 'confirmed', 'finalised', 'undone', 'set_aside')
    ),
    CONSTRAINT chain_events_reason CHECK ((progress = 'set_aside') = (set_aside_reason IS NOT NULL)),
    CONSTRAINT chain_events_lengths CHECK (
        octet_length(block_hash) = 32 AND octet_length(transaction_hash) = 32
        AND octet_length(entry_point) = 20 AND octet_length(user_op_hash) = 32
        AND octet_length(sender) = 20 AND octet_length(paymaster) = 20 AND octet_length(nonce) = 32
    )
);
-- The appliers' work: what is not finished, in chain order.
CREATE INDEX chain_events_work_idx ON chain_events (chain_id, block_number, log_index)
    WHERE progress IN ('pending', 'confirmed', 'set_aside');
-- The releaser's question: has anything of ours landed in this slot?
CREATE INDEX chain_events_slot_idx ON chain_events (chain_id, sender, nonce);

-- Slots whose nonce the EntryPoint has used up without an event of ours: by `incrementNonce`, or by an operation
-- that somebody else paid. Seen at an ingested block, and counted once that block is final; a block that goes
-- takes along what was seen at it.
CREATE TABLE used_slots (
    chain_id bigint NOT NULL,
    entry_point bytea NOT NULL,
    sender bytea NOT NULL,
    nonce bytea NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    CONSTRAINT used_slots_pkey PRIMARY KEY (chain_id, sender, nonce, entry_point),
    CONSTRAINT used_slots_lengths CHECK (
        octet_length(block_hash) = 32 AND octet_length(entry_point) = 20
        AND octet_length(sender) = 20 AND octet_length(nonce) = 32
    )
);
-- What to withdraw with a block, and what is final by now.
CREATE INDEX used_slots_block_idx ON used_slots (chain_id, block_number);

GRANT SELECT, INSERT, UPDATE ON chain_cursors, chain_events TO stipend_runtime;
GRANT SELECT, INSERT, DELETE ON used_slots TO stipend_runtime;
GRANT SELECT, INSERT, UPDATE, DELETE ON chain_blocks TO stipend_runtime;

-- The unique mark of each step of each event, in the account's own shard and written in the same
-- commit as its entries: what makes a fact count once, and keeps a late confirm out after its undo.
CREATE TABLE fact_marks (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    chain_id bigint NOT NULL,
    block_hash bytea NOT NULL,
    log_index integer NOT NULL,
    visit integer NOT NULL,
    step text NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT fact_marks_pkey PRIMARY KEY (tenant_id, account_id, chain_id, block_hash, log_index, visit, step),
    CONSTRAINT fact_marks_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT fact_marks_step CHECK (step IN ('confirm', 'undo', 'finalise')),
    CONSTRAINT fact_marks_hash_length CHECK (octet_length(block_hash) = 32)
);

GRANT SELECT, INSERT ON fact_marks TO stipend_runtime;
