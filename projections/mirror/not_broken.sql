select seq from batch where seq not in (select seq from ops.dead_letters) limit 1
