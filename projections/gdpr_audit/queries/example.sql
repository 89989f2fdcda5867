-- Why people could not be written to about jobs on 1 March.
select status, count(distinct canonical_id) as people
from gdpr_audit
where purpose in ('recruiting', '*') and channel in ('email', '*') and not contactable
    and valid_from <= '2026-03-01 00:00:00+00' and (valid_to is null or valid_to > '2026-03-01 00:00:00+00')
group by status
order by people desc
