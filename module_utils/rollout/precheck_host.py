"""Precheck, the application host: judgement on what was read there. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.rollout.findings import Verdict, failed, not_tested, passed, warning
from ansible.module_utils.rollout.precheck_demands import MEBIBYTE, Demands, FlagDemand, Known

#: The oldest Python that psycopg 3.3 runs on.
OLDEST_PYTHON = (3, 10)
#: An authority's certificate that ends within this time is worth a word, seconds.
EXPIRES_SOON_S = 30 * 86400
INSTALL = "ansible-playbook playbooks/runtime.yml -i <inventory>"


def host(known: Known, demands: Demands) -> Verdict:
    """The host answers."""
    facts = known.host["reach"]
    expected = "the host runs a command for us"
    if facts["error"]:
        return failed(
            expected,
            facts["error"],
            "Try the same by hand: ssh <ansible_user>@<ansible_host>. Look at the host's address and login in the"
            " inventory, and at the key (ssh-agent, --private-key).",
        )
    return passed(expected, "it answered")


def python(known: Known, demands: Demands) -> Verdict:
    """The Python that the modules run with can load psycopg."""
    facts = known.host["python"]
    oldest = ".".join(str(part) for part in OLDEST_PYTHON)
    expected = f"Python {oldest} or later"
    remedy = f"Install Python {oldest} or later on the host, and set runtime_base_python to its path."
    if facts["error"]:
        return failed(expected, f"{facts['path']}: {facts['error']}", remedy)
    if tuple(int(part) for part in facts["version"].split(".")) < OLDEST_PYTHON:
        return failed(expected, f"{facts['path']} is Python {facts['version']}", remedy, **facts)
    if not facts["can_make_environment"] and not facts["is_environment"]:
        return failed(
            f"{expected}, with venv and ensurepip",
            f"{facts['path']} is Python {facts['version']} without them",
            f"Install them there (Debian, Ubuntu: apt-get install python{facts['version']}-venv).",
            **facts,
        )
    return passed(expected, f"{facts['path']} is Python {facts['version']}", **facts)


def runtime(known: Known, demands: Demands) -> Verdict:
    """The modules' own environment has the versions that were tested."""
    facts = known.host["runtime"]
    expected = f"{facts['folder']} has {', '.join(facts['wanted'])}"
    if facts["missing"]:
        return failed(
            expected,
            f"it is missing, or lacks {', '.join(facts['missing'])}",
            f"The precheck installs nothing. Run first: {INSTALL}",
            **facts,
        )
    return passed(expected, "all of them are there", **facts)


def disk(known: Known, demands: Demands) -> Verdict:
    """There is room on the host."""
    if not known.host["disks"]:
        return not_tested("", "no path is configured (precheck_disk_paths)")
    expected = f"more than {demands.disk_free_mb} MB free on each of them"
    return _space(
        expected,
        known.host["disks"],
        demands.disk_free_mb * MEBIBYTE,
        "Make room (old logs, packages and backups first), or set precheck_disk_free_mb.",
    )


def backup_disk(known: Known, demands: Demands) -> Verdict:
    """There is room for a backup: for all of the database uncompressed, and some."""
    facts = known.host["backup_disk"]
    if facts is None:
        return not_tested("", "no folder for backups is configured (precheck_backup_dir)")
    size = known.database.get("server", {}).get("database_bytes")
    needed = demands.backup_free_mb * MEBIBYTE + (size or 0)
    told = f" ({_megabytes(size)} of it for the database)" if size else " (the database's size is not known)"
    return _space(
        f"{_megabytes(needed)} free in {facts['path']}{told}",
        [facts],
        needed,
        "Make room there, or set precheck_backup_dir to a folder on a larger disk.",
    )


def _space(expected: str, disks: Iterable[Mapping[str, Any]], needed: int, remedy: str) -> Verdict:
    unread = [one for one in disks if one["free_bytes"] is None]
    if unread:
        return failed(
            expected,
            "; ".join(f"{one['path']} cannot be measured: {one['error']}" for one in unread),
            "Correct the path, or let the login look there.",
            disks=list(disks),
        )
    told = ", ".join(f"{one['path']} has {_megabytes(one['free_bytes'])}" for one in disks)
    if any(one["free_bytes"] <= needed for one in disks):
        return failed(expected, told, remedy, disks=list(disks))
    return passed(expected, told, disks=list(disks))


def _megabytes(size: float) -> str:
    return f"{size / MEBIBYTE:.0f} MB"


def checkout_commit(known: Known, demands: Demands) -> Verdict:
    """The application is at the commit that this rollout was tested with."""
    facts = known.host["checkout"]
    if facts is None:
        return _no_checkout(demands)
    expected = f"commit {demands.commit}" if demands.commit else "a checkout"
    if facts["error"]:
        return failed(
            expected,
            facts["error"],
            "Correct app_dir, or set precheck_checkout to false where the application is no checkout.",
            **facts,
        )
    if not demands.commit:
        return not_tested(
            expected,
            f"it is at {facts['commit']}; which commit is expected is not configured (app_commit)",
            commit=facts["commit"],
        )
    if not facts["commit"].startswith(demands.commit.lower()):
        return failed(
            expected,
            f"{facts['folder']} is at {facts['commit']}",
            "Bring the application to that commit the way it is deployed, or correct app_commit.",
            **facts,
        )
    return passed(expected, f"{facts['folder']} is at {facts['commit']}", **facts)


def checkout_clean(known: Known, demands: Demands) -> Verdict:
    """Nobody changed the application's files on the server by hand."""
    facts = known.host["checkout"]
    if facts is None:
        return _no_checkout(demands)
    expected = "every file is as committed"
    if facts["error"]:
        return not_tested(expected, "it is no checkout that can be read: see checkout_commit")
    if facts["changed"]:
        more = facts["changed"] - len(facts["changes"])
        return failed(
            expected,
            f"{facts['changed']} changed in {facts['folder']}: {', '.join(facts['changes'])}"
            + (f" and {more} more" if more else ""),
            "Look at them with git diff. Commit what is meant, and deploy it; undo what is not.",
            **facts,
        )
    return passed(expected, f"nothing changed, {facts['untracked']} files that Git does not know", **facts)


def _no_checkout(demands: Demands) -> Verdict:
    return not_tested("", "the application is no checkout by configuration (precheck_checkout)")


def client_tools(known: Known, demands: Demands) -> Verdict:
    """The backup's programs are there, and not older than the server: pg_dump refuses a newer one."""
    tools = known.host["client_tools"]
    if not tools:
        return not_tested("", "no client programs are configured (precheck_client_tools)")
    major = known.database.get("server", {}).get("version_num", 0) // 10000
    expected = f"{', '.join(one['name'] for one in tools)}, of PostgreSQL {major or 'of the server'} or later"
    remedy = (
        f"Install the client programs of PostgreSQL {major or 'of the server'} on the host (Debian, Ubuntu:"
        f" postgresql-client-{major or '<major>'}), or set precheck_bin_dir to the folder that has them."
    )
    broken = [one["error"] for one in tools if one["error"]]
    if broken:
        return failed(expected, "; ".join(broken), remedy, tools=tools)
    told = ", ".join(f"{one['path']} is {one['version']}" for one in tools)
    if not major:
        return not_tested(
            expected, f"{told}; the server's version is not known: see database", tools=tools, major=None
        )
    if any(one["major"] < major for one in tools):
        return failed(expected, f"{told}; the server is PostgreSQL {major}", remedy, tools=tools)
    return passed(expected, told, tools=tools)


def backup_target(known: Known, demands: Demands) -> Verdict:
    """A backup counts only when it was restored: into a scratch database, or into a server on the host."""
    if not demands.backup_dir:
        return not_tested("", "no folder for backups is configured (backup_dir)")
    programs = known.host["server_programs"]
    major = known.database.get("server", {}).get("version_num", 0) // 10000
    may_create = known.database.get("rights", {}).get("create_database")
    expected = (
        "the login may create a scratch database, or the host has PostgreSQL's server programs"
        f" of version {major or 'of the server'} or later"
    )
    told = (
        ", ".join(f"{one['folder']} is {one['version']}" for one in programs)
        or "no server programs on the host"
    )
    if may_create:
        return passed(expected, "the login may create databases", programs=programs)
    if may_create is None or not major:
        return not_tested(
            expected, f"{told}; the login's rights are not known: see database", programs=programs
        )
    if any(one["major"] >= major for one in programs):
        return passed(expected, told, programs=programs)
    return failed(
        expected,
        f"the login may not create databases; {told}",
        f"Install postgresql-{major} on the host (Debian, Ubuntu; nothing of it has to run), or let a superuser do:"
        " ALTER ROLE <login> CREATEDB. Without it no backup can be proven, and nothing is applied.",
        programs=programs,
    )


def tls_ca(known: Known, demands: Demands) -> Verdict:
    """The authority's certificate, without which nobody proves anything, is on the host and valid."""
    facts = known.host["ca"]
    if facts is None:
        return not_tested("", "no certificate of an authority is configured (pg_sslrootcert)")
    expected = f"{facts['path']} holds an authority's certificate that is valid"
    remedy = (
        "Put the certificate of the authority that signed the server's into that file on the application host,"
        " readable for the login, or correct pg_sslrootcert. The database's provider publishes it."
    )
    if facts["error"]:
        return failed(expected, facts["error"], remedy, **facts)
    left = facts["expires"] - known.control["now"]
    ends = datetime.datetime.fromtimestamp(facts["expires"], datetime.timezone.utc).isoformat()
    if left <= 0:
        return failed(expected, f"it ended at {ends}", remedy, **facts)
    if left < EXPIRES_SOON_S:
        return warning(expected, f"it ends at {ends}", remedy, **facts)
    return passed(expected, f"valid until {ends}", **facts)


def flags(known: Known, demands: Demands) -> Verdict:
    """Variables of the application that a rollout must not change, and that a restart must not change either."""
    if not demands.flags:
        return not_tested("", "no variable is configured (precheck_flags)")
    wanted = {flag.name: flag for flag in demands.flags}
    judged = [_flag(wanted[facts["name"]], facts) for facts in known.host["flags"]]
    expected = "; ".join(
        f"{flag.name} {f'is {flag.expected}' if flag.expected else 'is reported'}" for flag in demands.flags
    )
    told = "; ".join(text for _, text in judged)
    evidence = {"flags": known.host["flags"]}
    statuses = {status for status, _ in judged}
    remedy = "The rollout changes neither. Find out who did, and which is meant, before going on."
    if "failed" in statuses:
        return failed(expected, told, remedy, **evidence)
    if "warning" in statuses:
        return warning(expected, told, remedy, **evidence)
    if "not_tested" in statuses:
        return not_tested(expected, told, "Correct precheck_flags, or let the login read it.", **evidence)
    return passed(expected, told, **evidence)


def _flag(wanted: FlagDemand, facts: Mapping[str, Any]) -> tuple[str, str]:
    """Status of one variable, and what was seen of it."""
    seen, unread, values = [], False, []
    if facts["file"] is not None:
        path, value, error = (facts["file"][name] for name in ("path", "value", "error"))
        if error:
            unread = True
            seen.append(f"cannot be read: {error}")
        else:
            values.append(value if value is not None else wanted.unset or None)
            means = f", which means {wanted.unset}" if value is None and wanted.unset else ""
            seen.append(f"{'unset' if value is None else value} in {path}{means}")
    if facts["processes"] is not None:
        service, running, error = (facts["processes"][name] for name in ("service", "values", "error"))
        if error:
            unread = True
            seen.append(f"cannot be read of {service}: {error}")
        for pid, value in running.items():
            # Unset says nothing: the process may have read the file after it was started.
            values += [] if value is None else [value]
            seen.append(f"{'unset' if value is None else value} when process {pid} of {service} was started")
    told = f"{wanted.name}: {', '.join(seen) or 'neither a file nor a service is configured'}"
    if wanted.expected and any(value != wanted.expected for value in values):
        return "failed", told
    if len(set(values)) > 1:
        return "warning", told
    if unread or not seen or (wanted.expected and not values):
        return "not_tested", told
    return "passed", told
