-- Every pool and day there is.
select * from pool_growth order by all
