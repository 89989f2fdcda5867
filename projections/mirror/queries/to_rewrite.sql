select count(*) > 0 from ops.erased where was_here and seq > (select seq from ops.rewritten)
