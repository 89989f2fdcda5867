select notification_id from tracking where projection = ? and application_name = ?;
