-- The first event of each aggregate that cannot be used; those after it wait.
create or replace view ops.broken as
select id, min(seq) as first_seq from ops.dead_letters group by id;
