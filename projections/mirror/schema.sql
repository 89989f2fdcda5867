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
    fields         json using compression zstd,
    -- What views look at, once more and in one piece: the rows of few records are read in a fifth of the time that their
    -- columns take, one place each. Uncompressed, for the same reason.
    packed         varchar using compression uncompressed
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
-- `was_here`: the file has held their personal data, and may do so until it is written anew. `purged_seq`: up to which event
-- bodies were named as purged that the file held, likewise.
create table if not exists ops.erased (
    id         uuid not null,
    seq        bigint not null,
    erasure    uuid,
    was_here   boolean not null,
    purged_seq bigint
);

-- The events that were purged, as those that end their records say, from position `since` on: of each some of its own record
-- that lie before it. It is read from the stored bytes, whose hash is a leaf of the log; what contradicts itself says nothing.
create or replace macro ops.purged(since) as table
select
    id, named_at, try_cast(body ->> 0 as bigint) as seq, try(unhex(substring(body ->> 1, 8))) as hash,
    try_cast(envelope ->> 0 as integer) as version, envelope ->> 1 as type,
    try_cast(envelope ->> 2 as timestamptz) as recorded_at
from (
    select id, seq as named_at, unnest(said.bodies) as body, unnest(said.envelopes) as envelope
    from (
        select id, seq, from_json(try(decode(body)::json) -> 'state', '{"bodies": ["JSON"], "envelopes": ["JSON"]}') as said
        from pii.events
        where type = 'erased' and kind = 'candidate' and seq >= since and seq not in (select seq from ops.dead_letters)
    )
    where len(said.bodies) = len(said.envelopes)
)
where try_cast(body ->> 0 as bigint) < named_at and octet_length(try(unhex(substring(body ->> 1, 8)))) = 32
    and try_cast(envelope ->> 2 as timestamptz) is not null;

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
