"""The ways in which SQLite and PostgreSQL differ, and what makes a statement quick in either."""
