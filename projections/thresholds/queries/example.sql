from thresholds
