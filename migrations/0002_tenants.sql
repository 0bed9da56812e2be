-- Companies and their applications: a small directory, on every shard.
-- Written by `stipend admin`; read at every authentication.
CREATE TABLE tenants (
    tenant_id uuid NOT NULL,
    name text NOT NULL,
    -- What becomes of points that return to a bucket which has expired meanwhile.
    expired_refund text NOT NULL DEFAULT 'keep',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT tenants_pkey PRIMARY KEY (tenant_id),
    CONSTRAINT tenants_name_key UNIQUE (name),
    CONSTRAINT tenants_name_length CHECK (char_length(name) BETWEEN 1 AND 128),
    CONSTRAINT tenants_expired_refund CHECK (expired_refund IN ('keep', 'forfeit'))
);

CREATE TABLE apps (
    tenant_id uuid NOT NULL,
    app_id uuid NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT apps_pkey PRIMARY KEY (tenant_id, app_id),
    CONSTRAINT apps_name_key UNIQUE (tenant_id, name),
    CONSTRAINT apps_tenant_fkey FOREIGN KEY (tenant_id) REFERENCES tenants,
    CONSTRAINT apps_name_length CHECK (char_length(name) BETWEEN 1 AND 128)
);

GRANT SELECT, INSERT ON tenants, apps TO stipend_runtime;
GRANT UPDATE (expired_refund) ON tenants TO stipend_runtime;
