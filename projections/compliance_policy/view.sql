select
    jurisdiction, by_default, otherwise, retention_months, rejected_months, notice_months, opt_out_hours,
    consent_refresh_months, tell_recipients_days
from ops.compliance_policy
