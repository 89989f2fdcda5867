create table engagement_score (
    canonical_id varchar not null,
    candidate_id varchar not null,
    seq          bigint not null,
    occurred_at  timestamptz not null,
    type         varchar not null,
    channel      varchar,
    campaign     varchar,
    points       double not null,
    counted      boolean not null,
    human        boolean not null,
    reason       varchar not null,
    hard_bounce  boolean not null,
    cleared_at   timestamptz
);
comment on column engagement_score.cleared_at is 'A hard bounce: when a later sign showed that the address works again';
