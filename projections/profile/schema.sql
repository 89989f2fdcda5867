create table pii.profile (
    canonical_id        varchar not null,
    records             varchar[] not null,
    first_name          varchar,
    last_name           varchar,
    headline            varchar,
    employer            varchar,
    location            varchar,
    skills              varchar[],
    seniority           varchar,
    role_family         varchar,
    jurisdiction        varchar,
    tags                varchar[] not null,
    sources             varchar[] not null,
    identifiers         varchar[] not null,
    first_seen_at       timestamptz not null,
    last_interaction_at timestamptz,
    events              bigint not null
);
comment on column pii.profile.last_interaction_at is 'The latest act of the person: a machine''s does not count';
