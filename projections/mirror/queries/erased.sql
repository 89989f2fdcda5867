-- Records that were erased.
select distinct replace(id::varchar, '-', '') as id
from ops.erased
order by id
