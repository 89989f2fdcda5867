-- What brings people back.
select type, count(*) as acts, median(dormant_days) as median_dormant_days from reengagement group by type order by acts desc
