select seq from ops.checkpoint
