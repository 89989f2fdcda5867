select number, hash, last_seq
from ops.tree
where height = $height and number >= $first and number <= $last
order by number
