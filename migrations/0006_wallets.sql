-- Smart accounts linked to accounts: a directory. A link does not move while a reservation of the
-- wallet is open, which `store::wallets` decides under the account's lock.
-- Written by the company's server; read by every sponsorship.
CREATE TABLE wallets (
    tenant_id uuid NOT NULL,
    chain_id bigint NOT NULL,
    wallet bytea NOT NULL,
    account_id uuid NOT NULL,
    linked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT wallets_pkey PRIMARY KEY (tenant_id, chain_id, wallet),
    CONSTRAINT wallets_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT wallets_address_length CHECK (octet_length(wallet) = 20)
);
CREATE INDEX wallets_account_idx ON wallets (tenant_id, account_id);

GRANT SELECT, INSERT, DELETE ON wallets TO stipend_runtime;
