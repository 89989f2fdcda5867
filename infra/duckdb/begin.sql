insert into tracking
select $projection, $application_name, $notification_id
where not exists (
    select 1 from tracking where projection = $projection and application_name = $application_name
)
returning notification_id;
