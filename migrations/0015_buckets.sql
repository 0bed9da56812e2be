-- Points that expire or are of a kind. A bucket is a name that the company gives points; a row is a *lot*:
-- what an account has of one bucket with one expiry. What of an account's points is in no lot is its
-- default bucket, which has no row, never expires and is spent last; most accounts have nothing else, and
-- `accounts.lot_seq` spares them every look into this file.
-- Written by credits that name a bucket, by every command of such an account, and by the sweeper's expiry,
-- each under the account's lock.
--
-- Invariant: the lots of an account together hold no more than what is available; each is what its entries
-- sum up to. Only a swept lot is out of the sweeper's index, and nothing enters it any more.
CREATE TABLE buckets (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    -- From 1, by age.
    lot integer NOT NULL,
    bucket text NOT NULL,
    expires_at timestamptz,
    available_micropoints bigint NOT NULL,
    -- Whether its time is past and its points were taken: set once, by the expiry itself.
    expiry_swept boolean NOT NULL DEFAULT false,
    CONSTRAINT buckets_pkey PRIMARY KEY (tenant_id, account_id, lot),
    CONSTRAINT buckets_lot_key UNIQUE NULLS NOT DISTINCT (tenant_id, account_id, bucket, expires_at),
    CONSTRAINT buckets_account_fkey FOREIGN KEY (tenant_id, account_id) REFERENCES accounts,
    CONSTRAINT buckets_lot_positive CHECK (lot >= 1),
    CONSTRAINT buckets_name CHECK (bucket ~ '^[a-z0-9][a-z0-9._-]{0,31}$'),
    CONSTRAINT buckets_available_not_negative CHECK (available_micropoints >= 0),
    CONSTRAINT buckets_swept_is_empty CHECK (
        NOT expiry_swept OR (expires_at IS NOT NULL AND available_micropoints = 0)
    )
) WITH (fillfactor = 70);

-- The commands' way to the lots that count, however many have expired.
CREATE INDEX buckets_unswept_idx ON buckets (tenant_id, account_id) WHERE NOT expiry_swept;
-- The sweeper's way to lots that are past their time. No command but the expiry changes its columns.
CREATE INDEX buckets_expiry_idx ON buckets (expires_at, account_id, lot)
    WHERE expires_at IS NOT NULL AND NOT expiry_swept;

GRANT SELECT, INSERT ON buckets TO stipend_runtime;
GRANT UPDATE (available_micropoints, expiry_swept) ON buckets TO stipend_runtime;

-- What a reservation took from each lot. What its legs did not give came from the default bucket, so that
-- a reservation of an account without lots has none.
-- Written with the reservation; read by whatever gives points back.
--
-- Invariant: never more than the reservation; each is what the reservation's entries of the lot sum up to.
CREATE TABLE reservation_legs (
    tenant_id uuid NOT NULL,
    account_id uuid NOT NULL,
    reservation_id uuid NOT NULL,
    lot integer NOT NULL,
    -- What was set aside, bumps included; what of it is spent, and what was given back.
    reserved_micropoints bigint NOT NULL,
    settled_micropoints bigint NOT NULL,
    returned_micropoints bigint NOT NULL,
    -- What was spent from available, because the reservation held too little or had been released.
    taken_micropoints bigint NOT NULL,
    CONSTRAINT reservation_legs_pkey PRIMARY KEY (tenant_id, account_id, reservation_id, lot),
    CONSTRAINT reservation_legs_reservation_fkey
        FOREIGN KEY (tenant_id, account_id, reservation_id) REFERENCES reservations,
    CONSTRAINT reservation_legs_lot_fkey FOREIGN KEY (tenant_id, account_id, lot) REFERENCES buckets,
    CONSTRAINT reservation_legs_amounts CHECK (
        reserved_micropoints >= 0 AND settled_micropoints >= 0 AND returned_micropoints >= 0
        AND taken_micropoints >= 0
        AND settled_micropoints + returned_micropoints <= reserved_micropoints
    )
) WITH (fillfactor = 70);

GRANT SELECT, INSERT ON reservation_legs TO stipend_runtime;
GRANT UPDATE (reserved_micropoints, settled_micropoints, returned_micropoints, taken_micropoints)
    ON reservation_legs TO stipend_runtime;
