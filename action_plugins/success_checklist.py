"""Action ``success_checklist``: ask the database and the host, take what the gate saw, and judge all of it.

What cannot be reached is a finding beside the others, so that one run tells everything that there is to tell.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

# The logic is in module_utils/; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout import checklist_samples, success_checklist  # noqa: E402
from ansible.module_utils.rollout import findings as checklists  # noqa: E402
from ansible.module_utils.rollout.checklist_application import ITEMS, Seen, suffering  # noqa: E402
from ansible.module_utils.rollout.checklist_demands import require_demands, wanted  # noqa: E402
from ansible.module_utils.rollout.checklist_entries import DATABASE_OPTIONS, Entries, parse  # noqa: E402
from ansible.module_utils.rollout.checklist_samples_source import load_samples  # noqa: E402
from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.recorded_gate import Recorded, latest  # noqa: E402
from ansible.module_utils.rollout.success_checklist import APPLICATION, OPTIONS, Answer  # noqa: E402

SPECIFICATION: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["begun", "judged"], "default": "judged"},
    "checks": {"type": "raw", "default": []},
    "application_items": {"type": "list", "elements": "str", "default": list(APPLICATION)},
    "report_dir": {"type": "path", "default": ""},
    "demands": {"type": "raw", "default": {}},
    "partitions": {"type": "raw", "default": []},
    "reference_max_age_minutes": {"type": "float", "default": 0},
    "migrations_path": {"type": "path", "required": True},
    "migration_variables": {"type": "dict", "default": {}},
    "database": {"type": "dict", "default": {}, "no_log": True},
    "gate": {"type": "dict", "default": {}},
    "message": {"type": "dict", "default": {}},
    "since": {"type": "str", "default": "the first look"},
    "services": {"type": "list", "elements": "str", "default": []},
    "pending": {"type": "bool", "default": False},
}
#: So old a gate may be that is compared with.
MOST_AGE_MINUTES = 24 * 60
#: A busy host is measured again: a peak is normal life.
MEASUREMENTS = 3
HOST_CPU = next(item for item in ITEMS if item.id == "host_cpu")
_HOST_ITEMS = (HOST_CPU.id, "memory")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/success_checklist.py."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Judge every item; never fails because of what was found.

        :raises AnsibleActionFail: the inventory's list cannot be kept, or a migration's samples cannot be read
        """
        result: dict[str, Any] = super().run(tmp, task_vars)
        self._variables: dict[str, Any] = dict(task_vars or {})
        _validation, given = self.validate_argument_spec(argument_spec=SPECIFICATION)
        result["changed"] = False
        try:
            entries = parse(given["checks"], OPTIONS)
            require_known(given["application_items"], entries)
            samples = load_samples(Path(given["migrations_path"]), given["migration_variables"])
            if given["state"] == "begun":
                result.update(self._begun(given))
            else:
                result.update(self._judged(given, entries, checklist_samples.dump(samples)))
        except RolloutError as error:
            raise AnsibleActionFail(str(error)) from error
        return result

    def _begun(self, given: Mapping[str, Any]) -> dict[str, Any]:
        require_demands(given["demands"], "verify_demands")
        wanted(given["partitions"], "public", "verify_partitions")
        minutes = given["reference_max_age_minutes"]
        if not 0 <= minutes <= MOST_AGE_MINUTES:
            raise RolloutError(
                f"verify_reference_max_age_minutes is {minutes:g}",
                hint=f"Take 0 to {MOST_AGE_MINUTES}. A gate knows which of the session's keys would expire within a day"
                " of it; later, keys that expired would look as if somebody had taken them away.",
            )
        found = Recorded()
        if given["report_dir"] and minutes > 0:
            host = str(self._variables["inventory_hostname"])
            found = latest(Path(given["report_dir"]), host, minutes * 60)
        return {"reference": dict(found.reference), "since": found.since}

    def _judged(self, given: Mapping[str, Any], entries: Entries, samples: str) -> dict[str, Any]:
        begun = time.monotonic()
        answer = self._ask_database(given, entries, samples)
        asked = time.monotonic()
        measured, error = self._measure(entries)
        host_seconds = time.monotonic() - asked
        seen = Seen(given["gate"], given["message"], given["since"], measured, error)
        gate_seconds = float(given["gate"].get("seconds", 0))
        seconds = {item.id: gate_seconds for item in ITEMS}
        seconds |= {"test_message": float(given["message"].get("seconds", 0))}
        seconds |= dict.fromkeys(_HOST_ITEMS, host_seconds)
        findings = success_checklist.judge(
            answer,
            seen,
            given["services"],
            entries,
            schema=str(given["database"].get("schema", "public")),
            ledger=str(given["database"].get("ledger", "rollout")),
            pending=given["pending"],
            seconds=seconds,
        )
        state, reasons = suffering(findings, given["application_items"])
        return {
            "findings": [finding.as_result() for finding in findings],
            "counts": checklists.counts(findings),
            "summary": checklists.summary(findings),
            "state": state,
            "reasons": reasons,
            "catalog": answer.result.get("catalog", {}),
            "locks": answer.result.get("locks", {}),
            "round_trips": answer.result.get("round_trips", 0),
            "seconds": round(time.monotonic() - begun, 3),
        }

    def _ask_database(self, given: Mapping[str, Any], entries: Entries, samples: str) -> Answer:
        begun = time.monotonic()
        items = {
            item: {"enabled": setting.enabled, "reason": setting.reason, **setting.options}
            for item, setting in entries.settings.items()
            if item in DATABASE_OPTIONS
        }
        arguments = {**given["database"], "items": items, "checks": entries.queries, "samples": samples}
        answer = self._module("pg_checklist_info", arguments)
        seconds = time.monotonic() - begun
        if error := _failure(answer):
            return Answer(error=error, seconds=seconds)
        return Answer(answer, seconds=seconds)

    def _measure(self, entries: Entries) -> tuple[list[Mapping[str, Any]], str]:
        """The host's resources, until its CPUs were quiet once; and why they could not be measured."""
        if not any(entries.of(item).enabled for item in _HOST_ITEMS):
            return [], ""
        cpu = entries.of("host_cpu")
        limits = {**HOST_CPU.options, **cpu.options}
        measured: list[Mapping[str, Any]] = []
        for _ in range(MEASUREMENTS):
            answer = self._module("host_resources_info", {"window": limits["window"] if cpu.enabled else 0.1})
            if error := _failure(answer):
                return measured, error
            measured.append(answer["host"])
            if answer["host"]["cpu_percent"] < limits["percent"] or not cpu.enabled:
                break
        return measured, ""

    def _module(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._execute_module(
                module_name=name, module_args=dict(arguments), task_vars=self._variables
            )
        except AnsibleError as error:
            # No connection, no room for the module on the target, an interpreter that is gone.
            return {"unreachable": True, "msg": str(error)}
        return answer


def require_known(items: list[str], entries: Entries) -> None:
    """Refuse an item of the application that there is not: misspelt, its failure would not count.

    :raises RolloutError: naming each
    """
    known = [*OPTIONS, *(str(query["id"]) for query in entries.queries)]
    unknown = sorted(set(items) - set(known))
    if unknown:
        raise RolloutError(
            f"verify_application_items names {', '.join(unknown)}, which the checklist does not have",
            hint=f"Correct it in the inventory. The items are {', '.join(known)}.",
        )


def _failure(answer: Mapping[str, Any]) -> str:
    """Why a module did not answer; empty when it did."""
    if not answer.get("failed") and not answer.get("unreachable"):
        return ""
    return (str(answer.get("msg") or "").strip().splitlines() or ["no answer"])[0]
