-- Every row there is.
select * from tag_completeness order by all
