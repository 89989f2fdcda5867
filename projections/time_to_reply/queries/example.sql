from time_to_reply where replied >= 10 order by median_days
