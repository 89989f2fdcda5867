-- No primary key: DuckDB keeps every old version of a row that an index points at, and a position changes with each
-- event. One writer at a time sees to it that there is one row.
create table if not exists tracking (
    projection       varchar not null,
    application_name varchar not null,
    notification_id  bigint not null
);
