"""The status page and the metrics: reads the ledger, writes nothing."""
