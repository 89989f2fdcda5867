create table pii.facts (
    canonical_id varchar not null,
    attribute    varchar not null,
    value        varchar not null,
    valid_from   timestamptz not null,
    valid_to     timestamptz,
    from_seq     bigint not null,
    to_seq       bigint
);
