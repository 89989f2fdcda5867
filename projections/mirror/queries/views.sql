select name, version, definition, built_at, build_s from ops.views order by name
