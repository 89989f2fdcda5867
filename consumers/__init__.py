"""What lives off the ledger: the projection of events into the views; later ingest, feed and outreach."""
