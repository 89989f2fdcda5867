-- The first page of people, whatever they are sorted by: everybody has to be looked at.
select * from data_hygiene order by all limit 500
