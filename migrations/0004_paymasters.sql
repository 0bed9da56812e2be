-- Deployed paymaster contracts: a small directory, on every shard. Each belongs to one tenant, and an
-- event that names it is that tenant's. Written at start from the configuration, and by an operator who
-- chooses the signer; a paymaster never changes its tenant or EntryPoint. Read by the ingester's appliers, and before each signature.
CREATE TABLE paymasters (
    chain_id bigint NOT NULL,
    paymaster bytea NOT NULL,
    tenant_id uuid NOT NULL,
    entry_point bytea NOT NULL,
    -- Whose key signs for it, of those that the contract lists: changed at once, by an operator. Null means the
    -- first in the configuration.
    active_signer bytea,
    signer_changed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT paymasters_pkey PRIMARY KEY (chain_id, paymaster),
    CONSTRAINT paymasters_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants,
    CONSTRAINT paymasters_address_length CHECK (octet_length(paymaster) = 20),
    CONSTRAINT paymasters_active_signer_length CHECK (octet_length(active_signer) = 20),
    CONSTRAINT paymasters_entry_point_length CHECK (octet_length(entry_point) = 20)
);

GRANT SELECT, INSERT, UPDATE (active_signer, signer_changed_at) ON paymasters TO stipend_runtime;
