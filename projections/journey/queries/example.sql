-- Whom we wrote to at least three times without an answer.
select canonical_id, touches, last_touch_at
from journey
where touches >= 3 and first_reply_at is null
order by touches desc
