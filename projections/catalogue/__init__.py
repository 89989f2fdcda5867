"""Questions to DuckDB's own catalogue: which tables and SQL views there are."""
