-- From version 2: requests, restrictions and erasures have fields of their own.
alter table pii.events add column matter json;
