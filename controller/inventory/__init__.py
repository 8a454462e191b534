"""The evidence inventory: what was decided, on which evidence, and when. The only code that knows SQLAlchemy.

`store` opens it; `recording` writes, `questions` are asked of it, and what they return is in `records`. The rooms, of
which each knows those below it and none above (`pyproject.toml` holds them to it):

- `audit`: whether it is what was recorded
- `retention`: how long what was recorded is kept
- `asking`: the questions, family by family; `querying`: questions of one's own, in SQL
- `bundle`: evidence in one file that others verify
- `index`: what stands in attested documents, as rows
- `recording`: the acknowledged write, and the rows that follow from what was written
- `blobs`: raw bytes; `ledger`: the order that nobody changes unseen
- `database`: where SQLite and PostgreSQL differ; `tables`, and `migrations` that make them
"""
