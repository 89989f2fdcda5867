create or replace table ops.compliance_policy as
select unnest(
    json_transform(?, '[{
        "jurisdiction": "VARCHAR", "by_default": "BOOLEAN", "otherwise": "BOOLEAN",
        "retention_months": "INTEGER", "rejected_months": "INTEGER", "notice_months": "INTEGER",
        "opt_out_hours": "INTEGER", "consent_refresh_months": "INTEGER", "tell_recipients_days": "INTEGER"}]'),
    recursive := true)
