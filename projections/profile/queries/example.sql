-- Senior people in Germany, those heard of last first.
select first_name, last_name, headline, last_interaction_at
from pii.profile
where seniority = 'senior' and jurisdiction = 'DE'
order by last_interaction_at desc nulls last
limit 20
