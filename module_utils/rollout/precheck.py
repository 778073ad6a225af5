"""The precheck: its items in the order of their weight, and the findings on all of them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ansible.module_utils.rollout import (
    precheck_application,
    precheck_control,
    precheck_database,
    precheck_host,
    precheck_partitions,
)
from ansible.module_utils.rollout.findings import Finding, Verdict, not_tested
from ansible.module_utils.rollout.precheck_demands import Demands, Known

Judge = Callable[[Known, Demands], Verdict]


@dataclass(frozen=True)
class Item:
    """One question of the precheck.

    :ivar id: short and stable
    :ivar title: what has to be true
    :ivar group: whose answers it judges: a field of ``Known``
    :ivar needs: the answer without which there is nothing to judge; empty: the group has to have been asked
    """

    id: str
    title: str
    group: str
    judge: Judge
    needs: str = ""


#: The heaviest first.
ITEMS: tuple[Item, ...] = (
    Item("inventory", "The inventory is complete", "control", precheck_control.inventory),
    Item("ansible_cfg", "The repository's ansible.cfg is in force", "control", precheck_control.ansible_cfg),
    Item("migrations", "The migrations are there", "control", precheck_control.migrations),
    Item("host", "The application host answers", "host", precheck_host.host, "reach"),
    Item("python", "The host's Python is fit for psycopg", "host", precheck_host.python, "python"),
    Item("runtime", "The modules' environment is installed", "host", precheck_host.runtime, "runtime"),
    Item("tls_ca", "The authority's certificate is on the host", "host", precheck_host.tls_ca, "ca"),
    Item("tls", "The connection is secured as demanded", "database", precheck_database.tls),
    Item("pooler", "No pooler takes sessions apart", "database", precheck_database.pooler),
    Item("database", "The database answers", "database", precheck_database.database),
    Item("server_version", "The server is supported", "database", precheck_database.server_version, "server"),
    Item("primary", "The server is the primary", "database", precheck_database.primary, "server"),
    Item("writable", "Sessions may write", "database", precheck_database.writable, "settings"),
    Item(
        "synchronous_standby",
        "COMMIT waits for nobody who is not there",
        "database",
        precheck_database.synchronous_standby,
        "replication",
    ),
    Item("encoding", "The database's encoding", "database", precheck_database.encoding, "server"),
    Item("rights", "The login has the rights it needs", "database", precheck_database.rights, "rights"),
    Item("ownership", "Recorded tables belong to us", "database", precheck_database.ownership, "rights"),
    Item(
        "partitions",
        "Tables by time reach far enough ahead",
        "database",
        precheck_partitions.partitions,
        "partitions",
    ),
    Item("connections", "The server has connections left", "database", precheck_database.connections),
    Item("disk", "There is room on the host", "host", precheck_host.disk, "disks"),
    Item("backup_disk", "There is room for a backup", "host", precheck_host.backup_disk, "backup_disk"),
    Item(
        "client_tools",
        "The backup's programs are as new as the server",
        "host",
        precheck_host.client_tools,
        "client_tools",
    ),
    Item(
        "backup_target",
        "A backup can be proven by a restore",
        "host",
        precheck_host.backup_target,
        "server_programs",
    ),
    Item("services", "Every service is online", "application", precheck_application.services, "services"),
    Item(
        "whatsapp",
        "The WhatsApp client is connected",
        "application",
        precheck_application.whatsapp,
        "whatsapp",
    ),
    Item(
        "protected_tables",
        "The tables to protect are there",
        "database",
        precheck_database.protected_tables,
        "protected",
    ),
    Item(
        "protected_locks",
        "Nobody locks the tables to protect",
        "database",
        precheck_database.protected_locks,
        "locks",
    ),
    Item(
        "idle_in_transaction",
        "Nobody idles in a transaction",
        "database",
        precheck_database.idle_in_transaction,
        "transactions",
    ),
    Item(
        "long_transactions",
        "No transaction is open for long",
        "database",
        precheck_database.long_transactions,
        "transactions",
    ),
    Item("running_dump", "No dump is running", "database", precheck_database.running_dump, "transactions"),
    Item(
        "wraparound", "No vacuum that gives way to nobody", "database", precheck_database.wraparound, "ages"
    ),
    Item(
        "prepared_transactions",
        "No transaction was left prepared",
        "database",
        precheck_database.prepared_transactions,
        "prepared_transactions",
    ),
    Item(
        "invalid_indexes",
        "No index was left half-made",
        "database",
        precheck_database.invalid_indexes,
        "invalid_indexes",
    ),
    Item(
        "checkout_commit",
        "The application is at the expected commit",
        "host",
        precheck_host.checkout_commit,
        "checkout",
    ),
    Item(
        "checkout_clean",
        "The application's files are as committed",
        "host",
        precheck_host.checkout_clean,
        "checkout",
    ),
    Item("flags", "The application's flags are as expected", "host", precheck_host.flags, "flags"),
    Item(
        "session_timeouts",
        "The server gives sessions time",
        "database",
        precheck_database.session_timeouts,
        "settings",
    ),
    Item("time_zone", "The server's time zone", "database", precheck_database.time_zone, "settings"),
    Item(
        "event_triggers",
        "Nothing acts on DDL by itself",
        "database",
        precheck_database.event_triggers,
        "event_triggers",
    ),
    Item(
        "publications",
        "New tables are not replicated by themselves",
        "database",
        precheck_database.publications,
        "publications",
    ),
    Item("other_jobs", "Nothing else is due in the window", "control", precheck_control.other_jobs),
)


def judge(
    known: Known,
    demands: Demands,
    unasked: Mapping[str, str],
    seconds: Mapping[str, float],
) -> list[Finding]:
    """A finding for every item, in the order of :data:`ITEMS`.

    :param known: the answers that were had
    :param unasked: why an answer was not had, by group or by ``group.answer``
    :param seconds: that the reading of a group took
    """
    return [
        Finding.of(item.id, item.title, _verdict(item, known, demands, unasked), seconds.get(item.group, 0.0))
        for item in ITEMS
    ]


def _verdict(item: Item, known: Known, demands: Demands, unasked: Mapping[str, str]) -> Verdict:
    answers: Mapping[str, object] = getattr(known, item.group)
    if not answers or (item.needs and item.needs not in answers):
        why = unasked.get(f"{item.group}.{item.needs}") or unasked.get(item.group)
        return not_tested("", why or f"the {item.group} was not asked")
    return item.judge(known, demands)
