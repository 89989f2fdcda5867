-- What the feed has said of what is derived from views, up to one of its messages: the fold of those messages.
create schema if not exists ops;
create table if not exists ops.announced (feed varchar not null, feed_seq bigint not null);
create table if not exists ops.announced_members (pool_id uuid not null, canonical_id uuid not null);
-- Who is not here is cold.
create table if not exists ops.announced_bands (canonical_id uuid not null, band varchar not null);
