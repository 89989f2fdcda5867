-- Ids as the mirror has them: what somebody else wrote into the ledger may be no UUID.
select coalesce(try_cast(id as uuid), md5(id)::uuid) from unnest($ids::varchar[]) as asked(id)
