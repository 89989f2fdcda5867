"""What drives the outside: the ledger on JetStream, DuckDB, keys, the embedded server."""
