-- How long the data of candidates may be kept where.
select jurisdiction, retention_months, rejected_months from compliance_policy
