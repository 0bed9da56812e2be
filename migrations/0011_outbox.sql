-- What happened to an account, for everybody who wants to hear of it, in order per account and at
-- least once. Its public id is `incarnation.account.seq`. Written in the transaction of the change;
-- no reader exists yet. Partitioned by the month (UTC), like the entries.
--
-- The incarnation is bumped when the database is restored from a backup, so that ids never repeat.
CREATE TABLE incarnations (
    incarnation integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT incarnations_pkey PRIMARY KEY (incarnation)
);
INSERT INTO incarnations (incarnation) VALUES (1);

CREATE TABLE outbox (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    event_seq bigint NOT NULL,
    incarnation integer NOT NULL,
    kind text NOT NULL,
    reservation_id uuid,
    entry_seq bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    CONSTRAINT outbox_pkey PRIMARY KEY (tenant_id, account_id, event_seq, incarnation, recorded_at)
) PARTITION BY RANGE (recorded_at);

GRANT SELECT ON incarnations TO stipend_runtime;
GRANT SELECT, INSERT ON outbox TO stipend_runtime;
