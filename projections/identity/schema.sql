create table identity (
    candidate_id varchar not null,
    canonical_id varchar not null,
    merged_into  varchar,
    merged_seq   bigint
);
