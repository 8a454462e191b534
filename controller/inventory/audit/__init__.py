"""Whether the inventory is what was recorded: rows, ledger, index and retention, each held against its source."""
