"""PM2's daemon, asked over its own socket. Nothing here starts a process, least of all a daemon.

Every call of the ``pm2`` command starts a daemon where none runs, so the command is never called. What is spoken
instead is what the command speaks: axon's request and reply over the Unix socket ``rpc.sock`` in PM2_HOME, in AMP
frames of version 1:

* frame = one byte (version << 4 | number of parts), then for each part its length (4 bytes, big-endian) and its bytes
* part = ``j:`` and JSON, or ``s:`` and text, or bytes
* request = ``{"type": "call", "method": …, "args": […]}`` and an id; answer = ``{"args": […]}`` and the same id

Only methods that change nothing are in :data:`METHODS`. Tried with the daemons 5.4, 6.0 and 7.0.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.pm2_services import Process, UnexpectedAnswer, parse_processes

VERSION = "getVersion"
PROCESSES = "getMonitorData"
#: Everything that may ever be asked: both only read.
METHODS = (VERSION, PROCESSES)

#: An answer holds some 20 kB per process. One beyond this is not PM2's; bytes.
LONGEST_ANSWER = 64 * 1024 * 1024

#: How a daemon names itself in /proc; a long home may be cut off at the end.
TITLE = re.compile(r"PM2 v(?P<version>\S+): God Daemon \((?P<home>.*?)\)?\s*$")

#: struct ucred of getsockopt(SO_PEERCRED): pid, uid, gid (unix(7)).
UCRED = struct.Struct("3i")

#: Another daemon is asked only for a hint; seconds.
OTHER_DAEMON_TIMEOUT_S = 1.0


class DaemonUnavailable(RolloutError):
    """The daemon cannot be asked; says nothing about the services.

    ``details["reason"]``: no_home, no_daemon, stale_socket, no_permission, timeout,
    connection_lost or other_user.
    """


@dataclass(frozen=True)
class Daemon:
    """A running daemon.

    :ivar pid: 0 when it lives in another PID namespace
    :ivar uid: the user it runs as
    """

    home: str
    pid: int
    uid: int
    version: str

    def as_result(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "home": self.home,
            "pid": self.pid,
            "user": user_name(self.uid),
            "uid": self.uid,
            "version": self.version,
        }


def user_name(uid: int) -> str:
    """The user's name, or ``uid 1234`` for one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def user_id(name: str) -> int:
    """The uid of a user of this machine.

    :raises RolloutError: there is no such user
    """
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise RolloutError(
            f"There is no user {name} on this machine",
            hint="Name the user that PM2 runs as.",
            details={"reason": "no_such_user", "user": name},
        ) from None


def read(home: str, *, user: str | None = None, timeout: float = 5.0) -> tuple[Daemon, list[Process]]:
    """Ask the daemon of a home what it runs.

    :param home: PM2_HOME
    :param user: whose daemon it has to be; None: the owner of the home
    :param timeout: seconds for everything together
    :raises DaemonUnavailable: it cannot be asked, or it is somebody else's
    :raises UnexpectedAnswer: the answer is not PM2's
    """
    deadline = time.monotonic() + timeout
    owner = _home_owner(home)
    with _connect(home, deadline) as connection:
        pid, uid, _ = UCRED.unpack(
            connection.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
        )
        _require_user(home, pid, uid, owner, user)
        try:
            version = _version(connection.ask(VERSION))
            processes = parse_processes(connection.ask(PROCESSES))
        except TimeoutError:
            raise _hangs(home, pid, timeout) from None
        except ConnectionError:
            raise _hung_up(home, pid) from None
    return Daemon(home, pid, uid, version), [_with_owner(process) for process in processes]


def _home_owner(home: str) -> int:
    try:
        if not os.path.isdir(home):
            # isdir() is false, too, for what may not be looked at; this raises then.
            os.stat(home)
            raise NotADirectoryError
        return os.stat(home).st_uid
    except PermissionError:
        raise _no_permission(home) from None
    except (FileNotFoundError, NotADirectoryError):
        raise DaemonUnavailable(
            f"PM2_HOME {home} is not a folder on this machine",
            hint=_where_daemons_are(),
            details={"reason": "no_home", "home": home},
        ) from None


def _require_user(home: str, pid: int, uid: int, owner: int, user: str | None) -> None:
    """Refuse a daemon that is not the expected user's: typically root's, started by mistake in the user's home."""
    expected = owner if user is None else user_id(user)
    if uid == expected:
        return
    because = "the owner of the home" if user is None else "the configured user"
    raise DaemonUnavailable(
        f"The PM2 daemon of {home} (pid {pid}) runs as {user_name(uid)}, not as {user_name(expected)}, {because}",
        hint="It was probably started by running pm2 as the wrong user. Its services are not read; "
        "stop it as that user, then start PM2 as the right one.",
        details={
            "reason": "other_user",
            "home": home,
            "pid": pid,
            "user": user_name(uid),
            "expected": user_name(expected),
        },
    )


@dataclass
class _Connection:
    """One connection to the daemon; every wait ends at the deadline."""

    socket: socket.socket
    deadline: float
    asked: int = 0

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, method: str) -> bytes:
        """Return the answer's JSON, unread: the caller takes from it what is safe.

        :raises TimeoutError: the deadline has passed
        :raises ConnectionAbortedError: the daemon closed the connection
        :raises ConnectionError: the same, noticed while asking
        """
        if method not in METHODS:
            raise ValueError(f"{method} is not among the methods that only read: {METHODS}")
        self.asked += 1
        call = json.dumps({"type": "call", "method": method, "args": [{}]})
        self._limit()
        self.socket.sendall(_frame(b"j:" + call.encode(), b"s:%d" % self.asked))
        parts = self._message()
        if len(parts) != 2 or not parts[0].startswith(b"j:") or parts[1] != b"s:%d" % self.asked:
            raise _not_pm2(f"an answer of {len(parts)} parts that does not belong to the question")
        return parts[0][2:]

    def _message(self) -> list[bytes]:
        (meta,) = self._exactly(1)
        if meta >> 4 != 1:
            raise _not_pm2(f"a message that begins with 0x{meta:02x}")
        parts, budget = [], LONGEST_ANSWER
        for _ in range(meta & 15):
            (length,) = struct.unpack(">I", self._exactly(4))
            budget -= length
            if budget < 0:
                raise _not_pm2(f"an answer longer than {LONGEST_ANSWER} bytes")
            parts.append(self._exactly(length))
        return parts

    def _exactly(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            self._limit()
            try:
                chunk = self.socket.recv(min(65536, count - len(received)))
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise ConnectionAbortedError
            received += chunk
        return bytes(received)

    def _limit(self) -> None:
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self.socket.settimeout(remaining)


def _frame(*parts: bytes) -> bytes:
    return bytes([1 << 4 | len(parts)]) + b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _connect(home: str, deadline: float) -> _Connection:
    path = os.path.join(home, "rpc.sock")
    connection = _Connection(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), deadline)
    try:
        connection._limit()
        connection.socket.connect(path)
    except OSError as error:
        connection.socket.close()
        raise _no_connection(home, path, error) from None
    return connection


def _no_connection(home: str, path: str, error: OSError) -> DaemonUnavailable:
    if isinstance(error, PermissionError):
        return _no_permission(home)
    if isinstance(error, FileNotFoundError):
        return DaemonUnavailable(
            f"No PM2 daemon at {home}: there is no {path}. {_pid_file(home)}",
            hint=_where_daemons_are(),
            details={"reason": "no_daemon", "home": home},
        )
    if isinstance(error, ConnectionRefusedError):
        return DaemonUnavailable(
            f"No PM2 daemon at {home}: nobody listens on {path}, which a killed daemon left behind. "
            f"{_pid_file(home)}",
            hint=f"Nothing was started. {_where_daemons_are()}",
            details={"reason": "stale_socket", "home": home},
        )
    if isinstance(error, TimeoutError | BlockingIOError):
        # A stopped daemon accepts nothing; its queue of connections fills up.
        return DaemonUnavailable(
            f"The PM2 daemon of {home} accepts no connection on {path}. {_pid_file(home)}",
            hint="Look at pm2.log in its home, and at what the machine is busy with.",
            details={"reason": "timeout", "home": home},
        )
    return DaemonUnavailable(
        f"{path} cannot be connected to: {error.strerror or error}",
        hint="A socket's path may be 107 bytes long; PM2 cannot use a longer one either.",
        details={"reason": "no_daemon", "home": home},
    )


def _no_permission(home: str) -> DaemonUnavailable:
    return DaemonUnavailable(
        f"{user_name(os.geteuid())} may not talk to the PM2 daemon of {home}",
        hint="Become the user that PM2 runs as (become_user).",
        details={"reason": "no_permission", "home": home, "user": user_name(os.geteuid())},
    )


def _not_pm2(seen: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(
        f"PM2's socket gave {seen}",
        hint="This speaks the protocol of PM2 5, 6 and 7. The daemon's own view is in pm2.log in its home.",
        details={"reason": "unexpected_answer"},
    )


def _hangs(home: str, pid: int, timeout: float) -> DaemonUnavailable:
    state = _status(pid).get("State", "state unknown")
    return DaemonUnavailable(
        f"The PM2 daemon of {home} (pid {pid}, {state}) did not answer within {timeout:g} s",
        hint="Its services may well run. Look at pm2.log in its home, and at what the machine is busy with.",
        details={"reason": "timeout", "home": home, "pid": pid, "state": state},
    )


def _hung_up(home: str, pid: int) -> DaemonUnavailable:
    return DaemonUnavailable(
        f"The PM2 daemon of {home} (pid {pid}) closed the connection without an answer. {_pid_file(home)}",
        hint="It ended or was killed in this moment, or it is no PM2. Look at pm2.log in its home.",
        details={"reason": "connection_lost", "home": home, "pid": pid},
    )


def _version(answer: bytes) -> str:
    """The version, only if it looks like one."""
    try:
        (version,) = json.loads(answer)["args"]
    except (KeyError, TypeError, ValueError):
        version = None
    if not isinstance(version, str) or not re.fullmatch(r"[\w.+-]{1,40}", version):
        raise _not_pm2("no version when asked for it")
    return version


def _status(pid: int) -> dict[str, str]:
    """Fields of /proc/<pid>/status; empty when there is no such process, or it is hidden.

    Not the owner of the folder /proc/<pid>: that is root for a process which changed its user, as PM2's uid option
    makes it (proc(5)).
    """
    if pid <= 0:
        return {}
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _uid(status: Mapping[str, str]) -> int | None:
    """The effective uid."""
    return int(status["Uid"].split()[1]) if "Uid" in status else None


def _with_owner(process: Process) -> Process:
    if not process.pid:
        return process
    status = _status(process.pid)
    if status:
        return replace(process, uid=_uid(status), alive=not status.get("State", "").startswith("Z"))
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return replace(process, alive=False)
    except PermissionError:
        # It exists, and /proc hides it (hidepid).
        return replace(process, alive=True)
    # It was started between the two looks.
    return replace(process, alive=True)


def running_daemons() -> Iterator[Daemon]:
    """Every PM2 daemon of this machine that /proc shows, by the title it gives itself; without connecting to any."""
    for entry in sorted(os.listdir("/proc")):
        if not entry.isdecimal():
            continue
        try:
            command = Path("/proc", entry, "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or hidden
        if not command.startswith(b"PM2 v"):
            continue
        title = TITLE.match(command.replace(b"\0", b" ").decode(errors="replace"))
        uid = _uid(_status(int(entry)))
        if title and uid is not None:
            yield Daemon(title["home"], int(entry), uid, title["version"])


def _where_daemons_are() -> str:
    found = [f"{one.home} (user {user_name(one.uid)}, pid {one.pid})" for one in running_daemons()]
    if not found:
        return "No PM2 daemon runs on this machine, as far as this user can see."
    return "PM2 daemons on this machine: " + ", ".join(found)


def _pid_file(home: str) -> str:
    """What pm2.pid says, for messages."""
    try:
        pid = int(Path(home, "pm2.pid").read_text())
    except (OSError, ValueError):
        return "There is no readable pm2.pid either."
    if any(one.pid == pid for one in running_daemons()):
        return f"pm2.pid names pid {pid}, and that daemon runs: its socket was removed."
    return f"pm2.pid names pid {pid}, which is no PM2 daemon now."


def elsewhere(
    names: Iterable[str], home: str, *, timeout: float = OTHER_DAEMON_TIMEOUT_S
) -> dict[str, list[str]]:
    """Look for services that a home's daemon does not know in the other daemons of this machine.

    :param names: the services
    :param timeout: seconds for each daemon
    :returns: name to descriptions such as ``/srv/app/.pm2 (user app)``; a daemon that cannot be asked is listed for
        every name with the reason, because the service may be there
    """
    wanted = set(names)
    found: dict[str, list[str]] = {name: [] for name in wanted}
    for other in running_daemons() if wanted else ():
        if os.path.realpath(other.home) == os.path.realpath(home):
            continue
        label = f"{other.home} (user {user_name(other.uid)})"
        try:
            _, processes = read(other.home, user=user_name(other.uid), timeout=timeout)
        except RolloutError as error:
            # Only a hint is looked for here; what kept it from being complete is part of it.
            unknown = f"{label}: not known, {error.details.get('reason', 'unreadable')}"
            for name in wanted:
                found[name].append(unknown)
            continue
        for name in wanted & {process.name for process in processes}:
            found[name].append(label)
    return {name: places for name, places in found.items() if places}
