create schema if not exists pii;
create schema if not exists ops;

-- One row a ledger message. `main.events` shows what of it is not personal.
create table if not exists pii.events (
    seq            bigint not null,
    recorded_at    timestamptz not null,
    kind           varchar not null,
    -- Looked up row by row: in runs, as DuckDB would choose to keep it, each row costs 20 µs to reach.
    id             uuid not null using compression uncompressed,
    odd_id         varchar,
    version        integer,
    type           varchar,
    v              smallint,
    occurred_at    timestamptz,
    actor_kind     varchar,
    source         varchar,
    channel        varchar,
    purpose        varchar,
    campaign       varchar,
    template       varchar,
    machine        boolean,
    bounce_kind    varchar,
    event          varchar,
    job            varchar,
    stage          varchar,
    method         varchar,
    right_used     varchar,
    basis          varchar,
    lia            varchar,
    notice_version varchar,
    wording_hash   varchar,
    language       varchar,
    expires_at     timestamptz,
    article        varchar,
    seniority      varchar,
    jurisdiction   varchar,
    target_id      uuid,
    correlation    varchar,
    matter         json,
    rule           json,
    hash           blob,
    body           blob using compression zstd,
    actor          varchar,
    interaction    varchar,
    message        varchar,
    url            varchar,
    tag            varchar,
    location       varchar,
    role_family    varchar,
    skills         varchar[],
    identifiers    varchar[],
    first_name     varchar,
    last_name      varchar,
    headline       varchar,
    employer       varchar,
    name           varchar,
    description    varchar,
    fields         json using compression zstd
);
create index if not exists events_of_id on pii.events (id);
create index if not exists events_of_target on pii.events (target_id);

create table if not exists ops.dead_letters (
    seq        bigint not null,
    id         uuid not null,
    version    integer,
    problem    varchar not null,
    noticed_at timestamptz not null
);

-- Who was erased, a record each: nothing of theirs is in any view, and of their events the envelope remains.
-- `was_here`: the file has held their personal data, and may do so until it is written anew.
create table if not exists ops.erased (id uuid not null, seq bigint not null, erasure uuid, was_here boolean not null);

-- Up to where the file was written anew, and thus has nothing left of those erased before.
create table if not exists ops.rewritten (seq bigint not null);
insert into ops.rewritten select 0 where not exists (from ops.rewritten);

-- The first event of each aggregate that cannot be used; those after it wait.
create or replace view ops.broken as
select id, min(seq) as first_seq from ops.dead_letters group by id;

-- The mirror holds the ledger up to `seq`, the views up to `views_seq`.
create table if not exists ops.checkpoint (seq bigint not null, events bigint not null, views_seq bigint not null);
insert into ops.checkpoint select 0, 0, 0 where not exists (from ops.checkpoint);

-- The views as they are kept: their own text and what else their contents depend on.
create table if not exists ops.views (
    name       varchar not null,
    version    integer not null,
    definition varchar not null,
    manifest   varchar,
    query      varchar,
    built_at   timestamptz not null,
    build_s    double not null
);

-- A build that has begun: which views, from which position, and how many parts are done.
create table if not exists ops.build (
    definition varchar not null,
    base_seq   bigint not null,
    parts      integer not null,
    done       integer not null
);

-- Stretches of the ledger that hold nothing, and rightly so.
create table if not exists ops.known_gaps (
    first_seq bigint not null,
    last_seq  bigint not null,
    reason    varchar not null,
    noted_at  timestamptz not null
);
