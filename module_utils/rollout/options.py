"""Where the database is: the options that every module which talks to it shares. Needs no psycopg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: Argument spec of the connection options; documented once, in doc_fragments/rollout_connection.py.
CONNECTION: dict[str, dict[str, Any]] = {
    "host": {"type": "str"},
    "port": {"type": "int"},
    "dbname": {"type": "str"},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "passfile": {"type": "path"},
    "service": {"type": "str"},
    "service_file": {"type": "path"},
    "sslmode": {"type": "str"},
    "sslrootcert": {"type": "path"},
    "connect_timeout": {"type": "int", "default": 10},
    "application_name": {"type": "str", "default": "rollout"},
}


@dataclass(frozen=True)
class ConnectionOptions:
    """Where the database is and how to prove who we are; the module options of the same names.

    :ivar connect_timeout: seconds
    :ivar password: never printed: ``repr`` leaves it out
    """

    host: str | None = None
    port: int | None = None
    dbname: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    passfile: str | None = None
    service: str | None = None
    service_file: str | None = None
    sslmode: str | None = None
    sslrootcert: str | None = None
    connect_timeout: int = 10

    def keywords(self) -> dict[str, Any]:
        """libpq's connection keywords, only those that are set."""
        names = (
            "host",
            "port",
            "dbname",
            "user",
            "password",
            "passfile",
            "service",
            "sslmode",
            "sslrootcert",
        )
        given = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, "")}
        return {**given, "connect_timeout": self.connect_timeout}

    @property
    def target(self) -> str:
        """The database in words, for messages."""
        if self.service:
            return f"service {self.service}"
        return f"database {self.dbname or 'of that name'} on {self.host or 'the local socket'}:{self.port or 5432}"


def name_a_database(parameters: Mapping[str, Any]) -> bool:
    """Whether a module's parameters say which database is meant, where that is optional."""
    return any(parameters[name] for name in ("host", "dbname", "service"))


def connection_options(parameters: Mapping[str, Any]) -> ConnectionOptions:
    """The connection part of a module's parameters."""
    names = set(CONNECTION) - {"application_name"}
    return ConnectionOptions(**{name: parameters[name] for name in names})
