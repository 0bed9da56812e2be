-- What a keyed command did: the row that makes a money command safe to repeat (promise 7). It names
-- immutable rows from which the same answer is made again. Refusals are not remembered here.
-- Written in the command's own transaction; never changed.
CREATE TABLE command_keys (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    command_key text NOT NULL,
    command text NOT NULL,
    request_hash bytea NOT NULL,
    reference text,
    reservation_id uuid,
    grant_no integer,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT command_keys_pkey PRIMARY KEY (tenant_id, account_id, command_key),
    CONSTRAINT command_keys_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT command_keys_command CHECK (command IN ('credit', 'debit', 'sponsor')),
    CONSTRAINT command_keys_hash_length CHECK (octet_length(request_hash) = 32),
    CONSTRAINT command_keys_shape CHECK (
        (command = 'sponsor' AND reservation_id IS NOT NULL AND grant_no IS NOT NULL AND reference IS NULL)
        OR (command <> 'sponsor' AND reference IS NOT NULL AND reservation_id IS NULL AND grant_no IS NULL)
    )
);

-- A sponsorship's replay is found by its key alone, wherever its wallet has moved since.
CREATE INDEX command_keys_key_idx ON command_keys (tenant_id, command_key);

GRANT SELECT, INSERT ON command_keys TO stipend_runtime;
