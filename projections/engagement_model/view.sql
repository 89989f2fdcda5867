select version, half_life_days, saturation_points, machine_within_s, weight_points
from ops.engagement_model
