-- Whom to leave alone for a while.
select canonical_id, touches_30d, days_since_last_act from contact_pressure where over_limit order by touches_30d desc
