-- The Merkle tree over pii.events in order of seq: its complete subtrees of heights 8, 16, 24 and so on.
create table if not exists ops.tree (
    height   utinyint not null,
    number   bigint not null,
    hash     blob not null,
    last_seq bigint not null -- of the last event below it
)
