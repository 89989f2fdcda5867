-- The first page of people, whatever they are sorted by: everybody has to be looked at.
select * from contact_pressure order by all limit 500
