-- API keys: a small directory, on every shard. Keys are 256 random bits, so that a plain SHA-256 of
-- one cannot be searched; only the hash and a prefix for people are kept.
-- Written by `stipend admin key`; read at every authentication.
--
-- `reserves_any_account` lets a publishable key reserve any account's points. It exists for the
-- development stack, and `stipend admin` refuses to make such a key elsewhere (promise 9).
CREATE TABLE api_keys (
    key_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    app_id uuid NOT NULL,
    kind text NOT NULL,
    key_hash bytea NOT NULL,
    prefix text NOT NULL,
    reserves_any_account boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (key_id),
    CONSTRAINT api_keys_hash_key UNIQUE (key_hash),
    CONSTRAINT api_keys_app_fkey FOREIGN KEY (tenant_id, app_id) REFERENCES apps,
    CONSTRAINT api_keys_kind CHECK (kind IN ('secret', 'publishable')),
    CONSTRAINT api_keys_hash_length CHECK (octet_length(key_hash) = 32)
);

GRANT SELECT, INSERT ON api_keys TO stipend_runtime;
GRANT UPDATE (revoked_at) ON api_keys TO stipend_runtime;
