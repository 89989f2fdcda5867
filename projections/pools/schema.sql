create table pii.pools (
    pool_id     varchar not null,
    name        varchar,
    description varchar,
    rule        json,
    created_at  timestamptz,
    archived_at timestamptz
);
