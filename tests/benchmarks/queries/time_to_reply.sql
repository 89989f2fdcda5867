-- Every row there is.
select * from time_to_reply order by all
