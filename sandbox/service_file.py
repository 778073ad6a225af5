"""libpq service files: ``psql service=sandbox`` connects without a password on any command line."""

from pathlib import Path

from sandbox.server import PostgresServer


def write_service_file(path: Path, server: PostgresServer, services: dict[str, tuple[str, str]]) -> None:
    """Write a service file, unless it already says the same.

    :param services: name of the service → (role, database).
    """
    sections = []
    for service, (role, dbname) in services.items():
        keywords = server.public_options(role, dbname) | {"passfile": str(server.passfile)}
        sections.append(
            "".join([f"[{service}]\n", *(f"{name}={value}\n" for name, value in keywords.items())])
        )
    content = "\n".join(sections)
    if not path.exists() or path.read_text() != content:
        complete = path.with_name(path.name + ".new")
        complete.write_text(content)
        complete.rename(path)
