"""The checklist's items on the application and its host: green, and each way in which they turn red or are not told."""

from typing import Any

import pytest
from ansible.module_utils.rollout.checklist_application import ITEMS, MEBIBYTE, Demands, Seen, suffering
from ansible.module_utils.rollout.findings import Finding

SERVICES = ("api", "worker")
DEMANDS = Demands(services=SERVICES)
HOST: dict[str, Any] = {
    "cpus": 2,
    "cpu_percent": 12.5,
    "iowait_percent": 0.0,
    "steal_percent": 0.0,
    "measured_s": 5.0,
    "load1": 0.4,
    "load5": 0.4,
    "load15": 0.4,
    "mem_available": 900 * MEBIBYTE,
    "mem_total": 2000 * MEBIBYTE,
    "mem_limited": False,
    "swap_used": 0,
}
ANSWERED = {"status": "passed", "reason": "answered after 2.1 s", "steps": [{"name": "taken"}]}
#: The items on what the gate looks at.
LOOKED_AT = {"whatsapp", "services", "new_errors", "whatsapp_untouched"}


def sample(at: float = 10.0, **values: Any) -> dict[str, Any]:
    """One look of a gate, as application_gate returns it."""
    return {
        "at": at,
        "findings": [],
        "broken": [],
        "online": 2,
        "services": 2,
        "pids": {"api": [7], "worker": [8]},
        "memory": 300 * MEBIBYTE,
        "cpu": 1.0,
        "whatsapp": "connected",
        "store": "untouched",
        "new_errors": 0,
        "continuity": {"api": "proven", "worker": "unproven"},
        **values,
    }


def gate(*samples: dict[str, Any], state: str = "green", **values: Any) -> dict[str, Any]:
    chosen = samples or (sample(10.0), sample(14.0))
    return {"state": state, "reasons": [], "samples": list(chosen), "seconds": 4.2, **values}


def finding(source: str, subject: str = "api", text: str = "is stopped") -> dict[str, Any]:
    return {"source": source, "subject": subject, "code": "x", "text": text, "lasting": True}


def red(source: str, **values: Any) -> dict[str, Any]:
    return gate(sample(), sample(findings=[finding(source)], **values), state="red")


def broken(source: str, **values: Any) -> dict[str, Any]:
    problem = {"source": source, "reason": "no_home", "text": f"{source} cannot be read"}
    return gate(sample(broken=[problem], **values), state="broken")


def judged(seen: Seen | None = None, demands: Demands = DEMANDS, **values: Any) -> dict[str, Finding]:
    given = {"gate": gate(), "message": ANSWERED, "since": "the baseline", "host": [HOST], **values}
    found = [
        Finding.of(item.id, item.title, item.judge(seen or Seen(**given), demands), 0.0) for item in ITEMS
    ]
    return {one.id: one for one in found}


def statuses(found: dict[str, Finding], status: str) -> set[str]:
    return {name for name, one in found.items() if one.status == status}


def test_all_is_well() -> None:
    """The control of everything below."""
    found = judged()
    assert statuses(found, "passed") == {item.id for item in ITEMS}
    assert found["services"].expected == "2 services online, and none restarted since the baseline"
    assert found["services"].observed == "2 of 2 online in 2 looks within 4 s"
    assert found["services"].evidence["pids"] == {"api": [7], "worker": [8]}
    assert found["whatsapp"].observed == "connected in 2 looks within 4 s"
    assert found["test_message"].observed == "answered after 2.1 s"
    assert found["new_errors"].observed == "none in the logs of 2 services"
    assert found["host_cpu"].observed == "12.5 % of 2 CPUs over 5 s, load 0.4"
    assert found["memory"].expected == (
        "the services together below 800 MB, at least 256 MB available on the host"
    )
    assert found["memory"].observed == (
        "the services have 300 MB (RSS of 2), 900 MB of 2000 MB are available"
    )


# --- the application -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "item"),
    [("pm2", "services"), ("whatsapp", "whatsapp"), ("logs", "new_errors"), ("store", "whatsapp_untouched")],
)
def test_what_the_gate_found_turns_its_item_red_and_no_other(source: str, item: str) -> None:
    found = judged(gate=red(source))
    assert statuses(found, "failed") == {item}
    assert found[item].observed == "api: is stopped"
    assert found[item].hint
    assert "unreadable" not in found[item].evidence
    assert statuses(found, "passed") == {one.id for one in ITEMS} - {item}


def test_what_the_gate_tolerated_is_told() -> None:
    flap = gate(sample(findings=[finding("whatsapp", "WhatsApp", "was reconnecting")]), sample())
    found = judged(gate=flap)
    assert found["whatsapp"].status == "passed"
    assert found["whatsapp"].observed.endswith("; tolerated: WhatsApp: was reconnecting")


@pytest.mark.parametrize(
    ("source", "items"),
    [
        ("host", LOOKED_AT),
        ("pm2", {"services", "new_errors", "whatsapp"}),
        ("logs", {"new_errors"}),
        ("whatsapp", {"whatsapp"}),
        ("store", {"whatsapp_untouched"}),
    ],
)
def test_what_could_not_be_read_is_red_and_says_that_it_says_nothing(source: str, items: set[str]) -> None:
    found = judged(gate=broken(source))
    assert statuses(found, "failed") == items
    assert all(found[item].evidence["unreadable"] for item in items)
    assert all("This says nothing about the application" in found[item].hint for item in items)


def test_a_gate_that_came_to_no_look_is_red() -> None:
    nothing = {"state": "broken", "reasons": ["the gate did not come to a decision"]}
    found = judged(gate=nothing)
    assert statuses(found, "failed") == LOOKED_AT | {"memory"}
    assert found["services"].observed == "the gate did not come to a decision"


def test_without_an_application_nothing_of_it_is_tested() -> None:
    nobody = {"state": "not_tested", "reasons": ["gate_enabled is false"]}
    found = judged(gate=nobody, message={"status": "not_tested", "reason": "gate_enabled is false"})
    assert statuses(found, "not_tested") == LOOKED_AT | {"test_message"}
    assert {found[item].observed for item in LOOKED_AT} == {"gate_enabled is false"}
    assert found["memory"].expected == "at least 256 MB available on the host"


def test_what_is_not_configured_is_not_tested() -> None:
    parts = gate(sample(whatsapp=None, store=None, continuity={}, services=0, memory=0))
    found = judged(gate=parts, demands=Demands())
    assert statuses(found, "not_tested") == LOOKED_AT
    assert found["services"].observed == "no services are configured (gate_services)"
    assert found["whatsapp"].observed == "no WhatsApp client is configured"
    assert "one look only" in found["new_errors"].observed


@pytest.mark.parametrize(
    ("message", "status", "observed"),
    [
        ({"status": "failed", "reason": "no reply"}, "failed", "no reply"),
        ({"status": "unreadable", "reason": "refused"}, "failed", "the bot could not be asked: refused"),
        ({"status": "not_tested", "reason": "no test phone"}, "not_tested", "no test phone"),
        ({}, "not_tested", "nobody asked"),
    ],
)
def test_a_message_without_a_reply(message: dict[str, Any], status: str, observed: str) -> None:
    found = judged(message=message)["test_message"]
    assert (found.status, found.observed) == (status, observed)
    assert bool(found.evidence.get("unreadable")) == (message.get("status") == "unreadable")


@pytest.mark.parametrize(
    ("values", "status", "observed"),
    [
        ({"new_errors": 2}, "warning", "2 in the logs of 2 services, no more than are normal"),
        (
            {"continuity": {"api": "broken", "worker": "proven"}},
            "warning",
            "0 in what is left of the logs of 2 services: of api a part was removed unread",
        ),
        (
            {"continuity": {"api": "no_log", "worker": "proven"}},
            "passed",
            "none in the logs of 1 service; api writes no log",
        ),
        ({"continuity": {"api": "no_log"}}, "not_tested", "no service writes a log"),
    ],
)
def test_errors_that_are_normal_and_logs_that_are_not_whole(
    values: dict[str, Any], status: str, observed: str
) -> None:
    found = judged(gate=gate(sample(**values)))["new_errors"]
    assert (found.status, found.observed) == (status, observed)


@pytest.mark.parametrize("state", ["sound", "unknown_company", "something new"])
def test_a_session_that_was_compared_with_nothing_is_not_tested(state: str) -> None:
    found = judged(gate=gate(sample(store=state)))["whatsapp_untouched"]
    assert found.status == "not_tested"
    assert found.observed


# --- the host ------------------------------------------------------------------------------------------------------


def busy(percent: float) -> dict[str, Any]:
    return {**HOST, "cpu_percent": percent}


def test_a_peak_is_normal_and_a_busy_host_is_not() -> None:
    peak = judged(host=[busy(90.0), busy(49.9)])["host_cpu"]
    assert peak.status == "passed"
    assert peak.observed == "90 %, 49.9 % of 2 CPUs over 5 s each, load 0.4"
    assert peak.evidence["cpu_percent"] == [90.0, 49.9]
    always = judged(host=[busy(90.0), busy(50.0), busy(71.0)])
    assert statuses(always, "failed") == {"host_cpu"}
    assert always["host_cpu"].expected == "host CPU below 50 %"
    tightened = judged(demands=Demands(services=SERVICES, percent=12.5))
    assert statuses(tightened, "failed") == {"host_cpu"}


@pytest.mark.parametrize(
    ("demands", "values"),
    [
        (Demands(services=SERVICES, services_mb=300), {}),
        (Demands(services=SERVICES, available_mb=901), {}),
        (DEMANDS, {"host": [{**HOST, "mem_available": 255 * MEBIBYTE}]}),
        (DEMANDS, {"gate": gate(sample(memory=801 * MEBIBYTE))}),
    ],
)
def test_too_much_memory(demands: Demands, values: dict[str, Any]) -> None:
    found = judged(demands=demands, **values)
    assert statuses(found, "failed") == {"memory"}
    assert "the services have" in found["memory"].observed
    assert "MB are available" in found["memory"].observed


def test_a_host_that_could_not_be_measured_is_red() -> None:
    found = judged(host=[], host_error="no room for the module")
    assert statuses(found, "failed") == {"host_cpu", "memory"}
    assert all("no room for the module" in found[item].observed for item in ("host_cpu", "memory"))
    nobody = judged(host=[])
    assert statuses(nobody, "not_tested") == {"host_cpu", "memory"}


def test_memory_of_services_that_are_not_known_is_no_memory_within_limits() -> None:
    found = judged(gate=broken("pm2", services=0, memory=0))["memory"]
    assert found.status == "failed"
    assert found.observed.startswith("the services' memory is not known, 900 MB")
    # Too little is too little, whatever is not known besides.
    little = judged(gate=broken("pm2", services=0, memory=0), demands=Demands(SERVICES, available_mb=1000))
    assert "unreadable" not in little["memory"].evidence


# --- what they say about a rollback --------------------------------------------------------------------------------

APPLICATION = ("whatsapp", "services")


def test_a_red_item_of_the_application_is_a_red_gate() -> None:
    found = list(judged(gate=red("pm2")).values())
    assert suffering(found, APPLICATION) == ("red", ["services: api: is stopped"])
    assert suffering(found, ("whatsapp",)) == ("green", [])


def test_what_could_not_be_read_is_a_broken_gate_unless_something_is_red() -> None:
    found = judged(gate=broken("pm2"))
    state, reasons = suffering(list(found.values()), APPLICATION)
    assert state == "broken"
    assert "services: pm2 cannot be read" in reasons
    both = {**found, "services": judged(gate=red("pm2"))["services"]}
    assert suffering(list(both.values()), APPLICATION) == ("red", ["services: api: is stopped"])


def test_a_warning_and_what_was_not_tested_are_no_red_gate() -> None:
    found = judged(gate=gate(sample(new_errors=2)), message={})
    assert statuses(found, "warning") == {"new_errors"}
    assert suffering(list(found.values()), [item.id for item in ITEMS]) == ("green", [])
