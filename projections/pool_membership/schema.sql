create table pool_membership (
    pool_id      varchar not null,
    canonical_id varchar not null,
    joined_at    timestamptz not null,
    left_at      timestamptz,
    joined_seq   bigint,
    left_seq     bigint
);
