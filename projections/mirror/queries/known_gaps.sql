-- What the mirror holds all the same is no gap: a place may be accepted as lost before the event that names it as purged is seen.
with
noted as materialized (
    select distinct first_seq, last_seq from ops.known_gaps
),
edges as (
    select first_seq, last_seq, first_seq - 1 as seq from noted
    union
    select first_seq, last_seq, last_seq + 1 from noted
    union
    select noted.first_seq, noted.last_seq, held.seq
    from (select seq from pii.events where seq <= (select max(last_seq) from noted)) held
    join noted on held.seq between noted.first_seq and noted.last_seq
),
stretches as (
    select seq + 1 as first_seq, lead(seq) over (partition by first_seq, last_seq order by seq) - 1 as last_seq from edges
)
select first_seq, last_seq from stretches where first_seq <= last_seq order by first_seq
