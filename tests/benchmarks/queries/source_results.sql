-- Every source there is.
select * from source_results order by all
