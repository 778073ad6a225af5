"""The roles of the sandbox's server: the owner of the application's database, and a login that may only read."""

import psycopg
from psycopg import sql

from sandbox.credentials import OWNER, READER, read_passfile
from sandbox.server import PostgresServer


def ensure_roles(server: PostgresServer) -> None:
    """Create the roles ``gen_user`` and ``auditor`` unless they exist. Neither is a superuser."""
    passwords = read_passfile(server.passfile)
    with server.connect() as connection, connection.transaction():
        # Two callers at once: the second waits and then finds the roles.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('sandbox roles'))")
        present = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        if OWNER not in present:
            _create_login(connection, OWNER, passwords[OWNER])
        if READER not in present:
            _create_login(connection, READER, passwords[READER])
            connection.execute(f"GRANT pg_read_all_data TO {READER}")
            connection.execute(f"ALTER ROLE {READER} SET default_transaction_read_only = on")


def _create_login(connection: psycopg.Connection, role: str, password: str) -> None:
    # The verifier is computed here: the server would write a plain password into its log (log_statement = ddl).
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(verifier))
    )
