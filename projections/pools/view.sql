select
    id as pool_id,
    max_by(name, (occurred_at, seq)) filter (type = 'created') as name,
    max_by(description, (occurred_at, seq)) filter (type = 'created') as description,
    max_by(rule, (occurred_at, seq)) filter (type in ('created', 'rule_changed')) as rule,
    min(occurred_at) filter (type = 'created') as created_at,
    min(occurred_at) filter (type = 'archived') as archived_at
from scope_pool_events
group by id
