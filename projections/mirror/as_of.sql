-- The time that SQL views are about: now, or `set variable as_of = '2026-03-01T00:00:00Z'`.
create or replace macro main.as_of() as coalesce(getvariable('as_of')::timestamptz, now())
