insert into ops.tree by name from grown
