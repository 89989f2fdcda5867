-- By source, over the whole sample.
select source, sum(people) as people, sum(with_tags) / sum(people) as with_tags, sum(complete) / sum(people) as complete
from tag_completeness
group by source
order by people desc
