"""Passwords of the sandbox's roles, kept in a libpq passfile (mode 0600) and nowhere else."""

import random
import re
import string
from pathlib import Path

from sandbox.certificates import write_private
from sandbox.errors import SandboxError

ADMIN = "postgres"
OWNER = "gen_user"
READER = "auditor"
ROLES = (ADMIN, OWNER, READER)

# Each of these breaks a shell command, a URL, an INI file or a template that handles a password carelessly.
METACHARACTERS = "}|<?% '\"$\\:&#"


def random_password() -> str:
    """Return a new password: 24 letters and digits with every one of METACHARACTERS somewhere between them."""
    source = random.SystemRandom()
    middle = source.choices(string.ascii_letters + string.digits, k=22) + list(METACHARACTERS)
    source.shuffle(middle)
    # Letters at both ends: a program that trims its input is not what this tests.
    return source.choice(string.ascii_letters) + "".join(middle) + source.choice(string.ascii_letters)


def ensure_passfile(path: Path) -> dict[str, str]:
    """Return the password of each role, making the passfile first when it does not exist.

    Entries name no port: the sandbox keeps its passwords when its port changes.

    :raises SandboxError: the file exists but lacks a role, or others could read it (libpq would then ignore it).
    """
    if not path.exists():
        passwords = {role: random_password() for role in ROLES}
        lines = [f"*:*:*:{_escape(role)}:{_escape(password)}\n" for role, password in passwords.items()]
        complete = path.with_suffix(".new")
        write_private(complete, "".join(lines).encode())
        complete.rename(path)
    return read_passfile(path)


def read_passfile(path: Path) -> dict[str, str]:
    """Return the password of each role in the passfile; raises SandboxError as ensure_passfile does."""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SandboxError(f"{path} has mode {mode:04o}: libpq ignores it. Run: chmod 0600 {path}")
    passwords = {}
    for line in path.read_text().splitlines():
        *_, role, password = (_unescape(field) for field in re.findall(r"(?:^|:)((?:\\.|[^:\\])*)", line))
        passwords[role] = password
    missing = [role for role in ROLES if role not in passwords]
    if missing:
        raise SandboxError(
            f"{path} has no entry for {', '.join(missing)}: remove the sandbox's folder and begin anew"
        )
    return passwords


def _escape(field: str) -> str:
    """Escape a passfile field: a colon separates fields and a backslash escapes (PostgreSQL manual, "The Password
    File")."""
    return field.replace("\\", "\\\\").replace(":", "\\:")


def _unescape(field: str) -> str:
    return re.sub(r"\\(.)", r"\1", field)
