"""Under which account PostgreSQL runs: it refuses uid 0, so root needs a way around, an ordinary user does not."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sandbox.binaries import program_environment
from sandbox.errors import SandboxError

# Root looks like uid 1000 inside: files stay root's, and nothing has to be chmodded.
USER_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")
SYSTEM_USERS = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """How PostgreSQL's programs are run.

    Attributes: ``label`` for people, ``prefix`` the words put before each command, ``uid`` and ``gid`` the owner that
    the server's files need (None: they already have the right one).
    """

    label: str
    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    def own(self, path: Path) -> None:
        """Make the server's account the owner of a file or folder."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def choose_account(postgres: str, data: Path) -> Account:
    """Return the account that can run the server.

    :param postgres: full path of the ``postgres`` program, tried with ``--version``.
    :param data: the data folder; when it exists, its owner decides, because PostgreSQL refuses another one.
    :raises SandboxError: no account can run it.
    """
    owner = data.stat().st_uid if data.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise SandboxError(
                f"{data} belongs to uid {owner}, not to you (uid {os.geteuid()}): run this as that user"
            )
        return Account(label=f"user {pwd.getpwuid(os.geteuid()).pw_name}")
    tried: list[str] = []
    for candidate in _accounts_for_root(owner):
        problem = _problem(candidate, postgres)
        if problem is None:
            return candidate
        tried.append(f"{candidate.label}: {problem}")
    raise SandboxError(
        f"PostgreSQL refuses to run as root, and no other way works here ({'; '.join(tried)}). "
        "Run this as an ordinary user, or allow user namespaces."
    )


def _accounts_for_root(owner: int | None) -> list[Account]:
    namespace = Account(label="root in a user namespace", prefix=USER_NAMESPACE)
    if owner is not None:
        return [namespace] if owner == 0 else [_system_user(pwd.getpwuid(owner))]
    present = {entry.pw_name: entry for entry in pwd.getpwall()}
    return [namespace, *(_system_user(present[name]) for name in SYSTEM_USERS if name in present)]


def _system_user(entry: pwd.struct_passwd) -> Account:
    # The programs and the data may lie below a home folder (0700) that this user cannot enter: it keeps the right to
    # do so (dac_override), which a container's root has, too. no_setuid_fixup lets access(2), with which PostgreSQL
    # looks for its own programs, know of that right.
    return Account(
        label=f"system user {entry.pw_name}",
        prefix=(
            "setpriv",
            f"--reuid={entry.pw_uid}",
            f"--regid={entry.pw_gid}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
            "--securebits=+no_setuid_fixup",
            "--",
        ),
        uid=entry.pw_uid,
        gid=entry.pw_gid,
    )


def _problem(account: Account, postgres: str) -> str | None:
    """Return why this account cannot run the server, or None."""
    for command in (["id", "-u"], [postgres, "--version"]):
        try:
            answer = subprocess.run(
                [*account.prefix, *command],
                capture_output=True,
                text=True,
                env=program_environment(),
                check=False,
            )
        except FileNotFoundError:
            return f"{account.prefix[0]} is not installed"
        if answer.returncode != 0:
            return answer.stderr.strip() or f"{' '.join(command)} ended with code {answer.returncode}"
        if answer.stdout.strip() == "0":
            return "it is still uid 0"
    return None
