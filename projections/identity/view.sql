with recursive
edge as (
    select id as candidate_id, target_id, seq
    from scope_usable
    where type in ('merged', 'unmerged')
    -- A merge into somebody who was erased is void.
    qualify seq = max(seq) over (partition by id) and type = 'merged' and target_id not in (select id from ops.erased)
),
-- UNION keeps each pair once, so that a cycle ends.
reach as (
    select candidate_id, target_id as node from edge
    union
    select reach.candidate_id, edge.target_id
    from reach
    join edge on edge.candidate_id = reach.node
),
-- A record has one edge at most, so a cycle shares no record with another: the last edge of each is void.
void as (
    select edge.candidate_id
    from edge
    join reach self on self.candidate_id = edge.candidate_id and self.node = edge.candidate_id
    join reach around on around.candidate_id = edge.candidate_id
    join edge other on other.candidate_id = around.node
    group by edge.candidate_id, edge.seq
    having edge.seq = max(other.seq)
),
kept as (
    from edge anti join void using (candidate_id)
),
root as (
    select reach.candidate_id, reach.node
    from reach
    anti join kept on kept.candidate_id = reach.node
),
record as (
    select distinct id as candidate_id from scope_usable where kind = 'candidate'
)
select
    record.candidate_id,
    coalesce(root.node, record.candidate_id) as canonical_id,
    kept.target_id as merged_into,
    kept.seq as merged_seq
from record
left join root using (candidate_id)
left join kept using (candidate_id)
