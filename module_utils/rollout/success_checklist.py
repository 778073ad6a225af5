"""The success checklist as a whole: its items in their order, and what the inventory says of them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible.module_utils.rollout import checklist_application
from ansible.module_utils.rollout.checklist_application import Demands, Seen
from ansible.module_utils.rollout.checklist_entries import DATABASE_OPTIONS, Entries
from ansible.module_utils.rollout.findings import Finding, Verdict, failed, not_tested, passed

#: Every item that the inventory has a say on, with the names of what may be set for it. ``database`` is none: without
#: it nothing is known.
OPTIONS: Mapping[str, Sequence[str]] = {
    "ledger": (),
    **DATABASE_OPTIONS,
    **{item.id: tuple(item.options) for item in checklist_application.ITEMS},
}
#: Of the application, so that a failure means that it suffers.
APPLICATION = ("whatsapp", "services", "test_message", "new_errors", "whatsapp_untouched")


@dataclass(frozen=True)
class Answer:
    """What came of ``pg_checklist_info``.

    :ivar result: what it returned; empty where it did not
    :ivar error: why it did not
    :ivar seconds: that it took, with the way there
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0


def judge(
    answer: Answer,
    seen: Seen,
    services: Sequence[str],
    entries: Entries,
    *,
    schema: str,
    ledger: str,
    pending: bool,
    seconds: Mapping[str, float],
) -> list[Finding]:
    """A finding for every item, in the order of the checklist: database, application, host, checks of one's own.

    :param services: names in PM2
    :param pending: whether migrations are still to be applied: what the database lacks is then no failure
    :param seconds: that the reading took which answered an item, by item
    """
    found = {one["id"]: Finding(**one) for one in answer.result.get("findings", ())}
    own = [str(query["id"]) for query in entries.queries]
    database = [
        Finding.of("database", "The database answers", _database(answer), answer.seconds),
        Finding.of(
            "ledger", "The schema stands as recorded", _ledger(answer, schema, ledger), answer.seconds
        ),
        *(found.get(item) or _unanswered(item, answer) for item in DATABASE_OPTIONS),
    ]
    checks = [found.get(item) or _unanswered(item, answer) for item in own]
    if pending:
        database, checks = ([_not_yet(one) for one in findings] for findings in (database, checks))
    limits = {
        name: entries.of(item.id).options.get(name, default)
        for item in checklist_application.ITEMS
        for name, default in item.options.items()
    }
    demands = Demands(services, **{name: limits[name] for name in ("percent", "services_mb", "available_mb")})
    application = [
        Finding.of(item.id, item.title, item.judge(seen, demands), seconds.get(item.id, 0.0))
        for item in checklist_application.ITEMS
    ]
    return [_weighed(one, entries) for one in (*database, *application, *checks)]


def _database(answer: Answer) -> Verdict:
    expected = "pg_checklist_info reaches the database from the application host"
    if answer.error:
        return failed(
            expected,
            answer.error,
            "This says nothing about what was rolled out. playbooks/precheck.yml names what is in the way.",
        )
    return passed(
        expected,
        f"answered in {answer.result['seconds']:.1f} s",
        round_trips=answer.result["round_trips"],
        locks=answer.result["locks"],
    )


def _ledger(answer: Answer, schema: str, ledger: str) -> Verdict:
    expected = f"schema {schema} holds exactly what the ledger {ledger} recorded"
    if answer.error:
        return not_tested(expected, "see database")
    catalog = answer.result["catalog"]
    evidence = {"recorded": catalog["recorded"], "objects": catalog["counts"]}
    if catalog["differences"]:
        return failed(
            expected,
            f"{len(catalog['differences'])} objects are not as recorded ('-' as it is, '+' as it must be):\n"
            f"{catalog['drift']}",
            "Find out who changed them. schema_drift: repair mends functions, triggers, indexes and comments.",
            **evidence,
        )
    if not catalog["recorded"]:
        return failed(
            expected,
            "it has no migration for this schema, so there is nothing to compare with",
            "Apply the migrations first: ansible-playbook apply.yml -i <inventory>",
            **evidence,
        )
    objects = ", ".join(f"{kind} {number}" for kind, number in sorted(catalog["counts"].items()))
    return passed(
        expected, f"{', '.join(catalog['recorded'])} stand exactly as recorded ({objects})", **evidence
    )


def _unanswered(item: str, answer: Answer) -> Finding:
    why = "see database" if answer.error else "pg_checklist_info has no finding on it"
    verdict = (
        not_tested("", why) if answer.error else failed("an answer", why, "Bring the rollout up to date.")
    )
    return Finding.of(item, item.replace("_", " ").capitalize(), verdict, answer.seconds)


def _not_yet(finding: Finding) -> Finding:
    if finding.status != "failed" or finding.id == "database":
        return finding
    observed = f"migrations are pending; before them: {finding.observed}"
    return replace(finding, status="not_tested", observed=observed, hint="")


def _weighed(finding: Finding, entries: Entries) -> Finding:
    """The finding as the inventory wants it counted."""
    setting = entries.of(finding.id)
    if not setting.enabled:
        off = not_tested("", f"switched off in verify_checks: {setting.reason}")
        return Finding.of(finding.id, finding.title, off, 0.0)
    if finding.status in ("failed", "warning"):
        return replace(finding, status=setting.severity or finding.status)
    return finding
