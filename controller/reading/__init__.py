"""The read-only REST interface over the inventory's queries."""
