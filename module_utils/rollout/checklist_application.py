"""The success checklist's items on the application and its host: judgement on what was seen of them. Pure.

The gate has looked several times and decided (``gate.py``); here its last look, which decided, is taken apart into
items. What is configured and could not be read is failed too, with ``unreadable`` in its evidence: it says nothing
about the application, and a checklist that could not be answered must not end well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible.module_utils.rollout.findings import Finding, Verdict, failed, not_tested, passed, warning
from ansible.module_utils.rollout.gate import BROKEN, GREEN, RED

MEBIBYTE = 1024 * 1024
#: What application_info could not read at all: the host, or a module on it.
HOST = "host"
PM2, LOGS, WHATSAPP, STORE = "pm2", "logs", "whatsapp", "store"
#: Of an answer that could not be had; a message's status besides those of message_probe.
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Seen:
    """What was seen.

    :ivar gate: as ``application_gate`` returns it; with the state ``not_tested`` nobody looked, ``reasons`` say why
    :ivar message: as ``message_probe`` returns it; with the status ``unreadable`` the bot could not be asked
    :ivar since: what the looks were compared with, for people, to follow the word "since"
    :ivar host: ``host`` of ``host_resources_info``, of every time that it was measured
    :ivar host_error: why it could not be measured
    """

    gate: Mapping[str, Any]
    message: Mapping[str, Any]
    since: str = "the first look"
    host: Sequence[Mapping[str, Any]] = ()
    host_error: str = ""


@dataclass(frozen=True)
class Demands:
    """What the inventory demands.

    :ivar services: names in PM2
    :ivar percent: the host's CPU has to be below, percent of all CPUs
    :ivar services_mb: the services' memory together has to be below, MB
    :ivar available_mb: memory that has to be available on the host, MB
    """

    services: Sequence[str] = ()
    percent: float = 50
    services_mb: float = 800
    available_mb: float = 256


Judge = Callable[[Seen, Demands], Verdict]


@dataclass(frozen=True)
class Item:
    """One item of the checklist.

    :ivar options: what the inventory may set for it, with defaults; names of :class:`Demands`, or of the reading
    """

    id: str
    title: str
    judge: Judge
    options: Mapping[str, float] = field(default_factory=dict)


def whatsapp(seen: Seen, demands: Demands) -> Verdict:
    """The WhatsApp client is connected, by its endpoint, its log and its process together."""
    expected = f"the WhatsApp client is connected, and was not lost since {seen.since}"
    if verdict := _not_looked_at(seen, expected, WHATSAPP, "no WhatsApp client is configured"):
        return verdict
    if found := _found(seen, WHATSAPP):
        return failed(
            expected,
            _told(found),
            "docs/gate.md says what each means. A client that was logged out has to be paired again.",
            findings=found,
        )
    observed = f"connected{_watched(seen)}{_tolerated(seen, WHATSAPP)}"
    return passed(expected, observed, verdict=_last(seen)["whatsapp"])


def services(seen: Seen, demands: Demands) -> Verdict:
    """Every service is online, and is the process that it was."""
    expected = f"{len(demands.services)} services online, and none restarted since {seen.since}"
    if not demands.services:
        return not_tested("", "no services are configured (gate_services)")
    if verdict := _not_looked_at(seen, expected, PM2, ""):
        return verdict
    if found := _found(seen, PM2):
        return failed(
            expected,
            _told(found),
            "pm2 logs <service>, as the user of PM2, says why. The rollout starts and restarts nothing. Who restarted"
            " it on purpose after an earlier run verifies with -e verify_reference_max_age_minutes=0.",
            findings=found,
        )
    look = _last(seen)
    observed = f"{look['online']} of {look['services']} online{_watched(seen)}{_tolerated(seen, PM2)}"
    return passed(expected, observed, pids=look["pids"])


def reply(seen: Seen, demands: Demands) -> Verdict:
    """The bot answers the test phone, proven by the chain of lines that the services log for it."""
    expected = "the bot answers a message of the test phone"
    status, reason = str(seen.message.get("status", "")), str(seen.message.get("reason", ""))
    evidence = {name: seen.message[name] for name in ("phone", "nonce", "steps") if name in seen.message}
    if status == "passed":
        return passed(expected, reason, **evidence)
    if status == "failed":
        return failed(
            expected,
            reason,
            "docs/baileys.md explains each step; look at the log of its service.",
            **evidence,
        )
    if status == UNREADABLE:
        return _unreadable(expected, f"the bot could not be asked: {reason}")
    return not_tested(expected, reason or "nobody asked")


def new_errors(seen: Seen, demands: Demands) -> Verdict:
    """The services logged no errors since the bookmark, beyond what is normal for them."""
    expected = f"no new errors in the services' logs since {seen.since}"
    if verdict := _not_looked_at(
        seen, expected, LOGS, "there are no logs, or one look only, which noted their ends"
    ):
        return verdict
    if found := _found(seen, LOGS):
        return failed(
            expected,
            _told(found),
            "docs/gate.md explains each; the log of the service has the lines themselves.",
            findings=found,
        )
    look = _last(seen)
    silent = sorted(name for name, how in look["continuity"].items() if how == "no_log")
    lost = sorted(name for name, how in look["continuity"].items() if how == "broken")
    evidence = {"new_errors": look["new_errors"], "continuity": look["continuity"]}
    written = len(look["continuity"]) - len(silent)
    read = f"the logs of {written} service{'' if written == 1 else 's'}"
    unread = f"; {', '.join(silent)} writes no log" if silent else ""
    if len(silent) == len(look["continuity"]):
        return not_tested(expected, "no service writes a log", **evidence)
    if lost:
        return warning(
            expected,
            f"{look['new_errors']} in what is left of {read}: of {', '.join(lost)} a part was removed unread{unread}",
            "Somebody emptied a log (pm2 flush). Let nobody do so during a rollout.",
            **evidence,
        )
    if look["new_errors"]:
        return warning(
            expected,
            f"{look['new_errors']} in {read}, no more than are normal{unread}",
            "Read them. gate_error_lines, gate_problem_lines and gate_problem_budgets say how many are normal.",
            **evidence,
        )
    return passed(expected, f"none in {read}{unread}", **evidence)


def whatsapp_untouched(seen: Seen, demands: Demands) -> Verdict:
    """The tables of the WhatsApp session have their shape, the session its identity, and no key vanished."""
    expected = (
        f"shape, owner and grants of the session's tables, its identity and its keys as {seen.since} saw them"
    )
    if verdict := _not_looked_at(seen, expected, STORE, "no WhatsApp session is configured"):
        return verdict
    if found := _found(seen, STORE):
        return failed(
            expected,
            _told(found),
            "docs/baileys.md explains each. The rollout takes no lock on these tables but ACCESS SHARE, and writes"
            " nothing: find out who did.",
            findings=found,
        )
    state = _last(seen)["store"]
    if state == "untouched":
        return passed(expected, f"untouched{_watched(seen)}", state=state)
    why = {
        "sound": "sound in itself; there is nothing earlier to compare with",
        "unknown_company": "nobody says which company's session is in use: see whatsapp",
    }
    return not_tested(expected, why.get(state, str(state)), state=state)


def host_cpu(seen: Seen, demands: Demands) -> Verdict:
    """The host's CPUs are not busy; one quiet measurement is enough, because a peak is normal life."""
    expected = f"host CPU below {demands.percent:g} %"
    if seen.host_error:
        return _unreadable(expected, f"it could not be measured: {seen.host_error}")
    if not seen.host:
        return not_tested(expected, "nobody measured it")
    last = seen.host[-1]
    shares = [one["cpu_percent"] for one in seen.host]
    observed = (
        f"{', '.join(f'{share:g} %' for share in shares)} of {last['cpus']} CPUs over {last['measured_s']:g} s"
        f"{' each' if shares[1:] else ''}, load {last['load1']:g}"
    )
    evidence = {
        name: last[name] for name in ("cpus", "iowait_percent", "steal_percent", "load1", "load5", "load15")
    }
    evidence |= {"cpu_percent": shares, "measured_s": [one["measured_s"] for one in seen.host]}
    if min(shares) < demands.percent:
        return passed(expected, observed, **evidence)
    return failed(
        expected,
        observed,
        "See with top who works there. Is it a service, pg_stat_activity shows which query; is it somebody else, verify"
        " again later. verify_checks sets percent and window of host_cpu.",
        **evidence,
    )


def memory(seen: Seen, demands: Demands) -> Verdict:
    """The services take no more memory than they may, and the host has some left."""
    expected = f"at least {demands.available_mb:g} MB available on the host"
    told, evidence = "", {}
    look = _last(seen)
    watched = bool(demands.services) and seen.gate.get("state") != "not_tested"
    known = watched and bool(look.get("services"))
    used = look["memory"] / MEBIBYTE if known else 0.0
    if watched:
        expected = f"the services together below {demands.services_mb:g} MB, {expected}"
        told = f"the services have {used:.0f} MB (RSS of {look['services']}), " if known else ""
        evidence = {"services_bytes": look["memory"] if known else None}
    if seen.host_error:
        return _unreadable(expected, f"{told}it could not be measured: {seen.host_error}")
    if not seen.host:
        return not_tested(expected, "nobody measured it")
    host = seen.host[-1]
    available = host["mem_available"] / MEBIBYTE
    told += (
        f"{available:.0f} MB of {host['mem_total'] / MEBIBYTE:.0f} MB are available"
        f"{' in its container' if host['mem_limited'] else ''}"
    )
    evidence |= {name: host[name] for name in ("mem_available", "mem_total", "mem_limited", "swap_used")}
    if used >= demands.services_mb or available < demands.available_mb:
        return failed(
            expected,
            told,
            "pm2 list shows each service's memory. verify_checks sets services_mb and available_mb of memory.",
            **evidence,
        )
    if watched and not known:
        return _unreadable(expected, f"the services' memory is not known, {told}", **evidence)
    return passed(expected, told, **evidence)


#: In the order of the checklist.
ITEMS: tuple[Item, ...] = (
    Item("whatsapp", "WhatsApp is connected", whatsapp),
    Item("services", "Every service is online", services),
    Item("test_message", "The bot answers a test message", reply),
    Item("new_errors", "No new errors in the logs", new_errors),
    Item("whatsapp_untouched", "The WhatsApp session is untouched", whatsapp_untouched),
    Item("host_cpu", "The host's CPU is not busy", host_cpu, {"percent": 50, "window": 5}),
    Item("memory", "Memory is within its limits", memory, {"services_mb": 800, "available_mb": 256}),
)


def suffering(findings: Sequence[Finding], of: Collection[str]) -> tuple[str, list[str]]:
    """What the findings say to who decides about a rollback, in the gate's words.

    :param of: ids of the items that count
    :returns: red, broken or green, and why
    """
    count = [one for one in findings if one.status == "failed" and one.id in of]
    for state, unreadable in ((RED, False), (BROKEN, True)):
        reasons = [
            f"{one.id}: {one.observed}" for one in count if bool(one.evidence.get(UNREADABLE)) == unreadable
        ]
        if reasons:
            return state, reasons
    return GREEN, []


def _last(seen: Seen) -> Mapping[str, Any]:
    """The look that decided: a gate goes on looking until one did."""
    samples = seen.gate.get("samples") or [{}]
    last: Mapping[str, Any] = samples[-1]
    return last


def _not_looked_at(seen: Seen, expected: str, source: str, unconfigured: str) -> Verdict | None:
    """The verdict on a source of which nothing was seen; None where there is something to judge."""
    reasons = "; ".join(str(reason) for reason in seen.gate.get("reasons", ()))
    if seen.gate.get("state") == "not_tested":
        return not_tested(expected, reasons or "nobody looked")
    look = _last(seen)
    if not look:
        return _unreadable(expected, reasons or "the gate made no look")
    for one in look["broken"]:
        if one["source"] in (source, HOST):
            return _unreadable(expected, one["text"])
        if one["source"] == PM2 and source in (LOGS, WHATSAPP):
            return _unreadable(
                expected, "which logs there are only PM2 knows, and it could not be asked: see services"
            )
    # What PM2 says is always there; of the others a look has nothing where nothing is configured.
    kept = {LOGS: "continuity", WHATSAPP: "whatsapp", STORE: "store"}.get(source)
    if kept and not look[kept] and not _found(seen, source):
        return not_tested(expected, unconfigured)
    return None


def _unreadable(expected: str, why: str, **evidence: Any) -> Verdict:
    hint = "This says nothing about the application: mend the way in, and verify again."
    return failed(expected, why, hint, **evidence, **{UNREADABLE: True})


def _found(seen: Seen, source: str) -> list[dict[str, Any]]:
    """What is wrong by a source; a gate that tolerated something ended with a look that found nothing."""
    return [dict(one) for one in _last(seen).get("findings", ()) if one["source"] == source]


def _told(found: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{one['subject']}: {one['text']}" for one in found)


def _watched(seen: Seen) -> str:
    samples = seen.gate["samples"]
    return f" in {len(samples)} looks within {samples[-1]['at'] - samples[0]['at']:.0f} s"


def _tolerated(seen: Seen, source: str) -> str:
    """What was seen in a look before the last one, and is normal life."""
    found = [
        f"{one['subject']}: {one['text']}"
        for sample in seen.gate["samples"][:-1]
        for one in sample["findings"]
        if one["source"] == source
    ]
    return "".join(f"; tolerated: {text}" for text in dict.fromkeys(found))
