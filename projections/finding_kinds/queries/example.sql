-- What is looked for.
select kind, severity, article from finding_kinds order by place
