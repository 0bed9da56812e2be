-- Deployed paymaster contracts: a small directory, on every shard. Each belongs to one tenant, and an
-- event that names it is that tenant's. Written at start from the configuration; a paymaster never
-- changes its tenant or EntryPoint. Read by the ingester's appliers.
CREATE TABLE paymasters (
    chain_id bigint NOT NULL,
    paymaster bytea NOT NULL,
    tenant_id uuid NOT NULL,
    entry_point bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT paymasters_pkey PRIMARY KEY (chain_id, paymaster),
    CONSTRAINT paymasters_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants,
    CONSTRAINT paymasters_address_length CHECK (octet_length(paymaster) = 20),
    CONSTRAINT paymasters_entry_point_length CHECK (octet_length(entry_point) = 20)
);

GRANT SELECT, INSERT ON paymasters TO stipend_runtime;
