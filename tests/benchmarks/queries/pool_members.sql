-- The first page of members, whatever they are sorted by: everybody has to be looked at.
select * from pool_members order by all limit 500
