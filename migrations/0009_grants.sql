-- Signed variants of an operation under a reservation: the only place from which a signature is
-- handed out (promise 1). Written in the reservation's own transaction; never changed. Read by
-- repeats, keyed replays, the bundler pass-through and look-ups.
CREATE TABLE grants (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    reservation_id uuid NOT NULL,
    grant_no integer NOT NULL,
    -- The application that asked: only it may pass the operation on.
    app_id uuid NOT NULL,
    -- Which of the two forms was signed: in the parallel one the account signed first.
    form text NOT NULL,
    request_hash bytea NOT NULL,
    max_cost_wei numeric(78, 0) NOT NULL,
    max_cost_micropoints bigint NOT NULL,
    valid_until bigint NOT NULL,
    digest bytea NOT NULL,
    signature bytea NOT NULL,
    paymaster_verification_gas_limit bigint NOT NULL,
    paymaster_post_op_gas_limit bigint NOT NULL,
    user_op_hash bytea NOT NULL,
    -- What the sender's code designated by EIP-7702 when this was signed.
    delegate bytea,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT grants_pkey PRIMARY KEY (tenant_id, account_id, reservation_id, grant_no),
    CONSTRAINT grants_reservation_fkey
        FOREIGN KEY (tenant_id, account_id, reservation_id) REFERENCES reservations,
    CONSTRAINT grants_form CHECK (form IN ('sequential', 'parallel')),
    CONSTRAINT grants_number CHECK (grant_no >= 1),
    CONSTRAINT grants_lengths CHECK (
        octet_length(request_hash) = 32 AND octet_length(digest) = 32 AND octet_length(signature) = 64
        AND octet_length(user_op_hash) = 32 AND (delegate IS NULL OR octet_length(delegate) = 20)
    ),
    CONSTRAINT grants_amounts CHECK (
        max_cost_wei >= 0 AND max_cost_micropoints >= 0 AND paymaster_verification_gas_limit >= 0
        AND paymaster_post_op_gas_limit >= 0
    ),
    -- 0 would mean for ever, and from 2^47 on EntryPoint v0.9 reads block numbers.
    CONSTRAINT grants_window CHECK (valid_until > 0 AND valid_until < 140737488355328)
);

GRANT SELECT, INSERT ON grants TO stipend_runtime;
