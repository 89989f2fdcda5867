-- The first page of people, whatever they are sorted by: everybody has to be looked at.
select * from reengagement order by all limit 500
