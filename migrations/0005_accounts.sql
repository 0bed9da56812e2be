-- One user's points. The row is the account's lock: every command takes it FOR NO KEY UPDATE first,
-- then loads, decides and writes. Balances are checked columns that the sum of entries can rebuild.
-- Written by every money command; read by balances.
--
-- Invariant: user columns are never negative, by CHECK (promise 5). A CHECK that fires is a defect of
-- Stipend, never an answer to a request.
--
-- What a value may be is said by domains on the tables that every command writes, and by few CHECKs of a table:
-- PostgreSQL reads those anew for each statement, but a domain's once per connection.
CREATE DOMAIN micropoints AS bigint CONSTRAINT micropoints_not_negative CHECK (VALUE >= 0);

CREATE TABLE accounts (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    available_micropoints micropoints NOT NULL DEFAULT 0,
    reserved_micropoints micropoints NOT NULL DEFAULT 0,
    spent_micropoints micropoints NOT NULL DEFAULT 0,
    debt_micropoints micropoints NOT NULL DEFAULT 0,
    entry_seq bigint NOT NULL DEFAULT 0,
    -- Of the last entry; before the first, the genesis of the account's own chain.
    entry_hash bytea NOT NULL,
    event_seq bigint NOT NULL DEFAULT 0,
    -- The number of its youngest lot; 0 where all its points are in the default bucket, so that nobody
    -- looks for others. See `buckets`.
    lot_seq integer NOT NULL DEFAULT 0,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT accounts_pkey PRIMARY KEY (tenant_id, account_id),
    CONSTRAINT accounts_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants
) WITH (fillfactor = 50);

-- The Web2 system's own name of an account: a directory, apart from the account so that a name can be
-- erased while the entries stay.
CREATE TABLE account_names (
    tenant_id uuid NOT NULL,
    external_id text NOT NULL,
    account_id uuid NOT NULL,
    CONSTRAINT account_names_pkey PRIMARY KEY (tenant_id, external_id),
    CONSTRAINT account_names_account_key UNIQUE (tenant_id, account_id),
    CONSTRAINT account_names_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts
);

GRANT SELECT, INSERT, UPDATE ON accounts TO stipend_runtime;
GRANT SELECT, INSERT, DELETE ON account_names TO stipend_runtime;
