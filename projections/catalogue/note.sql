insert into ops.views
select
    unnest($names), unnest($versions), unnest($definitions), unnest($manifests), unnest($queries),
    now(), $build_s
