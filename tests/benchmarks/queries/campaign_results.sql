-- Every campaign, channel, source and month there is.
select * from campaign_results order by all
