-- What each type of act is worth.
select unnest(map_entries(weight_points), recursive := true) from engagement_model
