delete from ops.tree
