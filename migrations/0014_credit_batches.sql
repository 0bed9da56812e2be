-- A batch of credits that came as one request, and what became of each of its lines: so that a repeat
-- continues where an earlier request stopped, and hears the same once all is done. The points
-- themselves are credits like any other, each in a commit of its own and safe by its reference; these
-- rows only remember the answer.
-- Written by POST /v1/credits:batch; read by its repeats.
--
-- Invariant: a line's outcome is written once, by the request that holds the batch's claim.
CREATE TABLE credit_batches (
    tenant_id uuid NOT NULL,
    batch_key text NOT NULL,
    batch_id uuid NOT NULL,
    request_hash bytea NOT NULL,
    line_count integer NOT NULL,
    -- Which request works on it, and until when no other begins.
    claim_id uuid NOT NULL,
    claimed_until timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT credit_batches_pkey PRIMARY KEY (tenant_id, batch_key),
    CONSTRAINT credit_batches_id_key UNIQUE (tenant_id, batch_id),
    CONSTRAINT credit_batches_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants,
    CONSTRAINT credit_batches_hash_length CHECK (octet_length(request_hash) = 32),
    CONSTRAINT credit_batches_line_count CHECK (line_count BETWEEN 1 AND 10000)
);

CREATE TABLE credit_batch_lines (
    tenant_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    line_index integer NOT NULL,
    outcome text NOT NULL,
    entry_seq bigint,
    code text,
    detail text,
    CONSTRAINT credit_batch_lines_pkey PRIMARY KEY (tenant_id, batch_id, line_index),
    CONSTRAINT credit_batch_lines_batch_fkey FOREIGN KEY (tenant_id, batch_id)
        REFERENCES credit_batches (tenant_id, batch_id),
    CONSTRAINT credit_batch_lines_index CHECK (line_index >= 0),
    CONSTRAINT credit_batch_lines_shape CHECK (
        (outcome IN ('applied', 'replayed') AND entry_seq IS NOT NULL AND code IS NULL AND detail IS NULL)
        OR (outcome = 'refused' AND entry_seq IS NULL AND code IS NOT NULL AND detail IS NOT NULL)
    )
);

GRANT SELECT, INSERT, UPDATE ON credit_batches TO stipend_runtime;
GRANT SELECT, INSERT ON credit_batch_lines TO stipend_runtime;
