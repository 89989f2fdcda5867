select pool_id, count(*) as members from pool_members group by pool_id order by members desc
