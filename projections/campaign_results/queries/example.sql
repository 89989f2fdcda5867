-- Each campaign over all months: rates are made of sums, not of rates.
select campaign, sum(sent) as sent, sum(replies) / sum(sent) as reply_rate, sum(opt_outs) / sum(sent) as opt_out_rate
from campaign_results
group by campaign
order by sent desc
