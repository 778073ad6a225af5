"""junit.xml: a case a check, for continuous integration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.rollout.report.checks import FAILED, NOT_TESTED, WARNING, Check
from ansible.module_utils.rollout.report.reading import mapping, text
from ansible.module_utils.rollout.report.summary import host_of
from junitparser import Failure, JUnitXml, Skipped, TestCase, TestSuite

#: What XML 1.0 has no form for.
_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def report_xml(record: Mapping[str, Any]) -> str:
    """The XML of a run: a suite a host, a case a check.

    :param record: report.json with its summary
    """
    root = JUnitXml(_xml(f"rollout {text(record.get('run_id'))}"))
    for name, part in mapping(record.get("hosts")).items():
        suite = TestSuite(_xml(name))
        suite.timestamp = text(record.get("began_at"))
        for key, value in (
            ("run_id", text(record.get("run_id"))),
            ("outcome", text(record.get("outcome"))),
            ("host_outcome", text(mapping(part).get("outcome"))),
        ):
            suite.add_property(key, _xml(value))
        suite.add_testcases([_case(name, check) for check in host_of(mapping(part)).checks])
        root.add_testsuite(suite)
    root.update_statistics()  # type: ignore[no-untyped-call]
    written: bytes = root.tostring()  # type: ignore[no-untyped-call]
    return written.decode()


def _case(host: str, check: Check) -> TestCase:
    case = TestCase(
        _xml(f"{check.id}: {check.title}"), _xml(f"{host}.{check.group}"), max(0.0, round(check.seconds, 3))
    )
    observed = _xml(check.observed or check.status)
    if check.status == FAILED:
        failure = Failure(observed.splitlines()[0] if observed.splitlines() else observed, "failed")
        failure.text = _told(check)
        case.result = [failure]
    elif check.status == NOT_TESTED:
        case.result = [Skipped(observed)]
    elif check.status == WARNING:
        case.system_out = f"WARNING {_told(check)}"
    return case


def _told(check: Check) -> str:
    pairs = (("expected", check.expected), ("observed", check.observed), ("what to do", check.hint))
    return _xml("\n".join(f"{label}: {value}" for label, value in pairs if value))


def _xml(told: str) -> str:
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", told)
