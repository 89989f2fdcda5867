update tracking
set notification_id = $notification_id
where projection = $projection
  and application_name = $application_name
  and notification_id < $notification_id
returning notification_id;
