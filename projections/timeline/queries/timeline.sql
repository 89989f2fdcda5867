select
    e.seq, e.occurred_at, e.recorded_at, e.type, e.channel, e.source, e.actor_kind, e.actor,
    e.id as candidate_id, e.campaign,
    case e.type
        when 'sourced' then concat_ws(' ', 'sourced', 'from ' || e.source)
        when 'profile_corrected' then 'profile corrected'
        when 'tagged' then 'tagged ' || coalesce(e.tag, '…')
        when 'untagged' then 'tag ' || coalesce(e.tag, '…') || ' taken off'
        when 'emailed' then concat_ws(' ', 'emailed for ' || e.purpose, 'in ' || e.campaign)
        when 'messaged' then concat_ws(' ', 'messaged on ' || e.channel, 'for ' || e.purpose, 'in ' || e.campaign)
        when 'bounced' then e.bounce_kind || ' bounce'
        when 'opened' then 'opened' || case e.machine when true then ' by a machine' when false then '' else ', by whom is unknown' end
        when 'clicked' then 'clicked ' || coalesce(e.url, 'a link')
            || case e.machine when true then ' by a machine' when false then '' else ', by whom is unknown' end
        when 'complained' then 'reported as spam'
        when 'event_attended' then 'attended ' || e.event
        when 'applied' then concat_ws(' ', 'applied', 'for ' || e.job)
        when 'stage_changed' then concat_ws(' ', 'came to', e.stage, 'for ' || e.job)
        when 'rejected' then concat_ws(' ', 'rejected', 'for ' || e.job)
        when 'hired' then concat_ws(' ', 'hired', 'for ' || e.job)
        when 'consent_given' then concat_ws(' ', 'consent given for ' || e.purpose, 'on ' || coalesce(e.channel, 'every channel'),
            'until ' || strftime(e.expires_at, '%Y-%m-%d'))
        when 'consent_withdrawn' then concat_ws(' ', 'consent withdrawn for', coalesce(e.purpose, 'every purpose'),
            'on', coalesce(e.channel, 'every channel'))
        when 'opted_out' then concat_ws(' ', 'opted out of', coalesce(e.purpose, 'every purpose'),
            'on', coalesce(e.channel, 'every channel'), '(' || e.method || ')')
        when 'opted_in' then concat_ws(' ', 'opted in to', coalesce(e.purpose, 'every purpose'),
            'on', coalesce(e.channel, 'every channel'))
        when 'basis_recorded' then concat_ws(' ', 'basis for ' || e.purpose || ':', replace(e.basis, '_', ' '), '(' || e.lia || ')')
        when 'notice_given' then concat_ws(' ', 'notice under Art. ' || e.article, '(' || e.notice_version || ')')
        when 'merged' then 'merged into ' || e.target_id
        when 'unmerged' then 'unmerged from ' || e.target_id
        else replace(e.type, '_', ' ')
    end as summary,
    d.problem
from pii.events e
left join ops.dead_letters d using (seq)
where e.kind = 'candidate'
    and e.id in (
        select candidate_id from identity where canonical_id = $canonical_id
        union all select $canonical_id)
    and ($as_of::timestamptz is null or e.occurred_at <= $as_of)
    and ($known_at::timestamptz is null or e.recorded_at <= $known_at)
    and ($known_seq::bigint is null or e.seq <= $known_seq)
    and ($before_seq::bigint is null
        or (coalesce(e.occurred_at, e.recorded_at), e.seq) < (
            select (coalesce(b.occurred_at, b.recorded_at), b.seq) from pii.events b where b.seq = $before_seq))
order by coalesce(e.occurred_at, e.recorded_at) desc, e.seq desc
limit $limit
