create or replace table main.snapshot as
select
    $seq::bigint as seq,
    $built_at::timestamptz as built_at,
    $published_at::timestamptz as published_at,
    $rapport::varchar as rapport,
    $materialised::varchar[] as materialised,
    $missing::varchar[] as missing;
comment on table main.snapshot is 'What this copy holds, and since when';
comment on column main.snapshot.seq is 'The ledger position up to which everything is in it';
comment on column main.snapshot.built_at is 'When the last of its views was built anew';
comment on column main.snapshot.published_at is 'When it was made';
comment on column main.snapshot.rapport is 'The version of Rapport that made it';
comment on column main.snapshot.materialised is
    'Views that rest on what is not in this copy: their rows are those of the moment in which it was made';
comment on column main.snapshot.missing is 'Macros that are not in it, because they rest on what is not'
