-- How much there is to do, the gravest first.
select kind, severity, count(*) as findings, min(since) as oldest
from findings
group by kind, severity
order by list_position(['critical', 'high', 'medium', 'low'], severity), findings desc
