"""The database's half of the success checklist: every item evaluated, each on its own.

An item that meets an error nobody foresaw is failed and says so; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout import (
    checklist_behaviour,
    checklist_constraints,
    checklist_demands,
    checklist_measures,
    checklist_own,
    checklist_partitions,
    checklist_paths,
    checklist_probes,
    checklist_recorded,
    checklist_samples,
    checklist_shape,
    options,
)
from ansible.module_utils.rollout.checklist_known import Known
from ansible.module_utils.rollout.checklist_probes import Step, Tried
from ansible.module_utils.rollout.checklist_rows import Rows
from ansible.module_utils.rollout.connection import Session
from ansible.module_utils.rollout.errors import ConnectionFailed, RolloutError
from ansible.module_utils.rollout.findings import Finding, Verdict, failed, not_tested
from ansible.module_utils.rollout.inspection import inspection_of
from ansible.module_utils.rollout.locks import TableLock, strongest
from ansible.module_utils.rollout.observation import Observation, observe

#: What every item can be told.
_COMMON_SETTINGS = ("enabled", "reason")
_FORESEEN = "no error that nobody foresaw"
DRY_RUN = "a dry run writes nothing"


@dataclass
class Outcome:
    """What ``pg_checklist_info`` returns.

    :ivar findings: one for each item, as :meth:`findings.Finding.as_result` gives them
    :ivar reference: what a later look compares with
    :ivar catalog: the comparison with the ledger
    :ivar locks: strongest lock that the items took on each relation of users, without those within an attempt: its
        subtransaction is rolled back
    """

    findings: list[dict[str, Any]] = field(default_factory=list)
    reference: dict[str, Any] = field(default_factory=dict)
    catalog: dict[str, Any] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    round_trips: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Item:
    """One line of the checklist.

    :ivar settings: that it takes beside :data:`_COMMON_SETTINGS`
    """

    id: str
    title: str
    evaluate: Callable[[Bench], Verdict]
    settings: tuple[str, ...] = ()


@dataclass
class Bench:
    """What items work with.

    :ivar protected: tables of the application, as the inventory names them
    :ivar looked: the partitioned tables
    :ivar locks: that the items held so far
    """

    session: Session
    known: Known
    protected: Sequence[str]
    looked: Sequence[checklist_partitions.Looked]
    locks: list[TableLock] = field(default_factory=list)

    def attempt(
        self, setting: Sequence[tuple[str, str]], probes: Sequence[Sequence[Step]], read_only: bool
    ) -> Tried:
        tried = checklist_probes.attempt(
            self.session,
            self.known.schema,
            self.known.measured["protected"],
            setting,
            probes,
            read_only=read_only,
        )
        self.locks += tried.locks
        return tried


ITEMS = (
    Item("tables", "Every table has its exact shape", lambda b: checklist_recorded.tables(b.known)),
    Item(
        "partitions",
        "Partitions cover the months asked for, and those ahead",
        lambda b: checklist_partitions.partitions(b.known, b.looked),
    ),
    Item("indexes", "Every index is there and valid", lambda b: checklist_recorded.indexes(b.known)),
    Item(
        "functions",
        "Every function works when it is called",
        lambda b: checklist_behaviour.functions(b.known, b.attempt),
    ),
    Item("triggers", "Every trigger fires", lambda b: checklist_behaviour.triggers(b.known, b.attempt)),
    Item(
        "checks",
        "Every CHECK refuses what is bad",
        lambda b: checklist_constraints.checks(b.known, b.attempt),
    ),
    Item(
        "foreign_keys",
        "Every foreign key acts as declared",
        lambda b: checklist_constraints.foreign_keys(b.known, b.attempt),
    ),
    Item(
        "unique_keys",
        "Every unique key refuses a second row",
        lambda b: checklist_constraints.unique_keys(b.known, b.attempt),
    ),
    Item(
        "not_null",
        "Every NOT NULL column refuses NULL",
        lambda b: checklist_constraints.not_null(b.known, b.attempt),
    ),
    Item(
        "round_trip",
        "Values come back as they went in, whatever the time zone",
        lambda b: checklist_behaviour.round_trip(b.known, b.attempt),
    ),
    Item(
        "partition_routing",
        "Rows go to the partition of their month, to the microsecond",
        lambda b: checklist_partitions.routing(b.known, b.attempt, b.looked),
    ),
    Item(
        "pruning",
        "A dated query reads one partition",
        lambda b: checklist_partitions.pruning(b.known, b.attempt, b.looked),
    ),
    Item(
        "access_paths",
        "The main queries find their indexes",
        lambda b: checklist_paths.access_paths(b.known, b.attempt),
        ("few_rows",),
    ),
    Item(
        "row_counts",
        "The expected rows are there",
        lambda b: checklist_measures.row_counts(b.known, b.attempt),
    ),
    Item(
        "server_errors",
        "The server met no errors",
        lambda b: checklist_measures.server_errors(b.known),
    ),
    Item(
        "size_growth",
        "The database grew as expected",
        lambda b: checklist_measures.size_growth(b.known),
        ("allowance_mb",),
    ),
    Item(
        "sample_story",
        "A salon with clients, bookings and messages can be told and asked about",
        lambda b: checklist_behaviour.story(b.known, b.attempt),
    ),
    Item(
        "unchanged_neighbours",
        "The application's own tables are unchanged",
        lambda b: checklist_measures.unchanged_neighbours(b.known, b.protected),
    ),
)


def run(given: Mapping[str, Any], *, check: bool) -> Outcome:
    """Evaluate the checklist, or note what a later one compares with.

    :param given: the options of ``pg_checklist_info``
    :param check: write nothing: the session is read-only on the server's side
    :raises RolloutError: options that cannot be meant, no connection, a ledger that may not be read
    """
    checklist = _with_own_checks(given)
    _check_settings(given["items"], checklist)
    wanted = checklist_demands.wanted(given["partitions"], given["schema"])
    checklist_demands.require_demands(given["demands"])
    samples = checklist_samples.parse(given["samples"])
    noted = given["state"] == "noted"
    with Session(
        options.connection_options(given),
        given["application_name"],
        read_only=check or noted,
        lock_timeout_ms=given["lock_timeout_ms"],
        statement_timeout_ms=given["statement_timeout_ms"],
    ) as session:
        began = time.perf_counter()
        seen = observe(session, given["schema"], given["ledger"], standby=True)
        shape = checklist_shape.read(seen.ledger.expected, seen.ledger.made)
        measured = checklist_measures.read(
            session, given["schema"], given["protected_tables"], seen.catalog, list(shape.tables)
        )
        outcome = Outcome(reference=checklist_measures.reference(given["schema"], measured))
        if not noted:
            inspection = inspection_of(seen)
            together = checklist_samples.together(samples, seen.ledger.rows)
            known = Known(
                schema=given["schema"],
                ledger_schema=given["ledger"],
                catalog=seen.catalog,
                ledger=seen.ledger,
                differences=inspection.differences,
                shape=shape,
                samples=together,
                rows=Rows(shape, together, session.backend_pid, _untouchable(seen, shape.tables)),
                read_only=_read_only(seen, check, str(measured["unwritable"])),
                demands=given["demands"],
                settings=given["items"],
                reference=given["reference"],
                measured=measured,
            )
            looked = checklist_partitions.read(session, given["ledger"], wanted)
            bench = Bench(session, known, given["protected_tables"], looked)
            outcome.findings = _evaluate(bench, checklist, time.perf_counter() - began)
            outcome.catalog = {
                name: value
                for name, value in inspection.as_json().items()
                if name not in ("entries", "locks")
            }
            # An index is locked with its table, and says no more.
            of_tables = [lock for lock in bench.locks if f"index {lock.table}" not in seen.catalog.entries]
            outcome.locks = strongest([TableLock(*lock) for lock in seen.locks.items()] + of_tables)
        outcome.round_trips = session.round_trips
        outcome.seconds = round(session.seconds, 4)
    return outcome


def _with_own_checks(given: Mapping[str, Any]) -> list[Item]:
    own = checklist_own.own_checks(given["checks"], [item.id for item in ITEMS])

    def item(check: checklist_own.Check) -> Item:
        return Item(check.id, check.title, lambda b: checklist_own.evaluate(b.session, b.known.schema, check))

    return [*ITEMS, *map(item, own)]


def _check_settings(given: Mapping[str, Any], checklist: Sequence[Item]) -> None:
    """Refuse settings that would be without effect."""
    by_id = {item.id: item for item in checklist}
    for name, settings in given.items():
        if name not in by_id:
            raise RolloutError(f"items: there is no item {name}", hint=f"Known are: {', '.join(by_id)}.")
        if not isinstance(settings, Mapping):
            raise RolloutError(
                f"items: {name} is {settings!r}", hint="It is a mapping, such as {enabled: false}."
            )
        known = (*_COMMON_SETTINGS, *by_id[name].settings)
        if unknown := sorted(set(settings) - set(known)):
            raise RolloutError(
                f"items: {name}: unknown setting {unknown[0]!r}", hint=f"Known are: {', '.join(known)}."
            )


def _evaluate(bench: Bench, checklist: Sequence[Item], reading: float) -> list[dict[str, Any]]:
    """All findings, in order.

    :param reading: seconds that the common reading took; it counts for items that ask nothing further
    """
    findings = []
    lost = ""
    for item in checklist:
        began, trips = time.perf_counter(), bench.session.round_trips
        verdict = _verdict(bench, item, lost)
        if bench.session.lost and not lost:
            lost = item.id
        asked = bench.session.round_trips > trips
        seconds = time.perf_counter() - began if asked else reading
        findings.append(Finding.of(item.id, item.title, verdict, seconds).as_result())
    return findings


def _verdict(bench: Bench, item: Item, lost: str) -> Verdict:
    settings = bench.known.settings.get(item.id, {})
    if not settings.get("enabled", True):
        reason = settings.get("reason")
        return not_tested("", "switched off in verify_checks" + (f": {reason}" if reason else ""))
    if lost:
        return not_tested("", f"the connection was lost at item {lost}", "Run again.")
    try:
        return item.evaluate(bench)
    except ConnectionFailed as error:
        return failed("an answer of the database", error.message, error.hint)
    except RolloutError as error:
        return failed(_FORESEEN, error.message, error.hint, **error.details)
    except Exception as error:  # whatever it is: the other items are to be told
        told = f"{type(error).__name__}: {error}"
        try:
            bench.session.rollback()
        except RolloutError as after:
            told += f"; then {after.message}"
        return failed(_FORESEEN, told, "This is a mistake in the checklist; report it with this text.")


def _untouchable(seen: Observation, tables: Mapping[str, Any]) -> dict[str, str]:
    """Tables whose triggers or rules nobody recorded: they may act outside the database, and are not set off."""
    found: dict[str, str] = {}
    entries, recorded = seen.catalog.entries, seen.ledger.expected
    for name, entry in entries.items():
        kind, _, rest = name.partition(" ")
        where, _, member = rest.partition(".")
        # A row goes to a partition; what is recorded of its table, each partition has as well.
        table = str(entries.get(f"table {where}", {}).get("parent") or where)
        known = {name, f"{kind} {table}.{member}"} & set(recorded)
        if kind in ("trigger", "rule") and table in tables and not known and entry["state"] != "disabled":
            found[table] = (
                f"{table} has a {kind} that no migration made ({member}); it is not set off, for it may act outside"
                " the database"
            )
    return found


def _read_only(seen: Observation, check: bool, unwritable: str) -> str:
    """Why nothing may be written; empty where it may."""
    if seen.standby:
        return "the server is a standby and takes no writes"
    if check:
        return DRY_RUN
    if seen.fenced:
        return "default_transaction_read_only is set for this login or database"
    if unwritable:
        return f"{seen.role} may not write to {unwritable}"
    return ""
