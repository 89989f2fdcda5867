-- What a copy would hold. Views are built anew without an event, too.
select
    (select seq from ops.checkpoint) as seq,
    (select max(built_at) from ops.views) as built_at
