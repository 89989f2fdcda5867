create or replace table ops.engagement_model as
select unnest(json_transform(?, '{
    "version": "VARCHAR", "half_life_days": "DOUBLE", "saturation_points": "DOUBLE",
    "machine_within_s": "DOUBLE", "weight_points": "MAP(VARCHAR, DOUBLE)"}'));
