"""History in ClickHouse: migrations, store, sink, typed queries, ledger."""
