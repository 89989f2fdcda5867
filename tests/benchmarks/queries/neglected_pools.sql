-- Every pool there is.
select * from neglected_pools order by all
