"""The roles of PostgreSQL that read: one for all that Assay's readers ask, one for questions of one's own.

What these statements say is the guarantee that an auditor cannot write: the server holds it, whatever a program does.
"""

from __future__ import annotations

from sqlalchemy.dialects import postgresql

from controller.inventory.querying.views import VIEWS

READER = "assay_reader"
QUERIER = "assay_query"
TEMPORARY_FILES = "1GB"  # what one connection of the querier may write to disk while it sorts
CONNECTIONS = 4  # of the querier


def statements(
    *, reader: str = READER, querier: str = QUERIER, owner: str | None = None, schema: str = "public"
) -> tuple[str, ...]:
    """What a superuser runs once in Assay's database. Passwords are set apart (`\\password`).

    `owner` is the role that migrates, whose later tables the reader may read too; None: whoever runs the statements.
    """
    quote = postgresql.dialect().identifier_preparer.quote_identifier  # type: ignore[no-untyped-call]
    reader, querier, schema = quote(reader), quote(querier), quote(schema)
    maker = f"FOR ROLE {quote(owner)} " if owner is not None else ""
    names = ", ".join(f"{schema}.{view.name}" for view in VIEWS)
    common = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS NOINHERIT"
    return (
        f"CREATE ROLE {reader} {common}",
        f"ALTER ROLE {reader} SET default_transaction_read_only = on",
        f"GRANT USAGE ON SCHEMA {schema} TO {reader}",
        f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}",
        f"ALTER DEFAULT PRIVILEGES {maker}IN SCHEMA {schema} GRANT SELECT ON TABLES TO {reader}",
        f"CREATE ROLE {querier} {common} CONNECTION LIMIT {CONNECTIONS}",
        f"ALTER ROLE {querier} SET default_transaction_read_only = on",
        f"ALTER ROLE {querier} SET temp_file_limit = '{TEMPORARY_FILES}'",
        f"GRANT USAGE ON SCHEMA {schema} TO {querier}",
        f"GRANT SELECT ON {names} TO {querier}",
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC",
    )
