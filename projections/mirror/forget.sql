-- Rows of the batch that the mirror holds already, to be put in again.
delete from ops.dead_letters where seq in (select seq from batch);
delete from pii.events where seq in (select seq from batch);
