select (select count(*) from main.identity) + (select count(*) from pii.pools) as aggregates
