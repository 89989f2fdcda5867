select count(*) as people, avg(complete::int) as complete, avg(stale::int) as stale, avg(hard_bounced::int) as hard_bounced
from data_hygiene
