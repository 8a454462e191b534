"""How many rows an inventory has, and how many bytes each table takes with its indexes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, text

from controller.inventory import tables
from controller.inventory.database import dialect, engines
from controller.settings import InventorySettings

_POSTGRESQL = """
SELECT coalesce(parent.relname, c.relname) AS name, sum(pg_total_relation_size(c.oid)) AS bytes
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid LEFT JOIN pg_class parent ON parent.oid = i.inhparent
WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace GROUP BY 1
"""
# By pages: the bytes of a tree are counted in 32 bits.
_SQLITE = """
SELECT m.tbl_name AS name, sum(s.pageno) * (SELECT page_size FROM pragma_page_size) AS bytes
FROM dbstat s JOIN sqlite_master m ON m.name = s.name WHERE s.aggregate = TRUE GROUP BY 1
"""


def sizes(url: str) -> dict[str, Any]:
    """`rows` and `bytes` by table; the indexes count with their table. `files` are bytes of evidence kept in files."""
    parsed = engines.parse(url)
    engine = engines.writing_engine(parsed)
    try:
        with engine.begin() as connection:
            dialect.take_time(connection)
            rows = {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in tables.metadata.sorted_tables
            }
            query = _SQLITE if parsed.get_backend_name() == "sqlite" else _POSTGRESQL
            bytes_ = {row.name: int(row.bytes) for row in connection.execute(text(query)) if row.name in rows}
    finally:
        engine.dispose()
    folder = InventorySettings(database_url=url).blob_folder(engines.sqlite_file(parsed))
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder else 0
    return {"rows": rows, "bytes": bytes_, "files": files}
