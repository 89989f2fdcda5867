create schema if not exists pii;
create schema if not exists ops;

create table if not exists events (
    seq          bigint not null,
    recorded_at  timestamptz not null,
    kind         varchar not null,
    id           varchar not null,
    version      integer,
    type         varchar,
    v            smallint,
    occurred_at  timestamptz,
    actor_kind   varchar,
    source       varchar,
    channel      varchar,
    purpose      varchar,
    campaign     varchar,
    template     varchar,
    machine      boolean,
    bounce_kind  varchar,
    event        varchar,
    method       varchar,
    right_used   varchar,
    basis        varchar,
    lia          varchar,
    notice_version varchar,
    wording_hash varchar,
    language     varchar,
    expires_at   timestamptz,
    article      varchar,
    seniority    varchar,
    jurisdiction varchar,
    target_id    varchar,
    correlation  varchar,
    rule         json,
    hash         blob,
    body         blob
);
create index if not exists events_of_id on events (id);

create table if not exists pii.events (
    seq         bigint not null,
    id          varchar not null,
    actor       varchar,
    interaction varchar,
    message     varchar,
    url         varchar,
    tag         varchar,
    location    varchar,
    role_family varchar,
    skills      varchar[],
    identifiers varchar[],
    first_name  varchar,
    last_name   varchar,
    headline    varchar,
    employer    varchar,
    name        varchar,
    description varchar,
    fields      json
);

create table if not exists ops.dead_letters (
    seq        bigint not null,
    id         varchar not null,
    version    integer,
    problem    varchar not null,
    noticed_at timestamptz not null
);

create table if not exists ops.checkpoint (seq bigint not null, events bigint not null);
insert into ops.checkpoint select 0, 0 where not exists (from ops.checkpoint);

create table if not exists ops.views (
    name       varchar primary key,
    version    integer not null,
    definition varchar not null,
    built_at   timestamptz not null,
    build_s    double not null
);

-- Stretches of the ledger that hold nothing, and rightly so.
create table if not exists ops.known_gaps (
    first_seq bigint not null,
    last_seq  bigint not null,
    reason    varchar not null,
    noted_at  timestamptz not null
);
