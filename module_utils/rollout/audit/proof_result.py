"""What the proof says: a verdict a call, what each table lacks, and the sentence of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ansible.module_utils.rollout.errors import RolloutError

RUNS, FAILS, UNKNOWN = "runs", "fails", "unknown"
#: Values of ``audit_fail_on``.
FAIL_ON_MISSING, FAIL_ON_NONE = "missing", "none"
#: How many lacks the gate's message names.
_NAMED = 30


class CallsWouldFail(RolloutError):
    """Calls of the code would fail on this schema."""


@dataclass(frozen=True)
class Problem:
    """One reason why a call fails.

    :ivar code: SQLSTATE, or PostgREST's own code where it refuses before PostgreSQL is asked
    :ivar table: table or function that it is about; empty when it is about none
    :ivar column: empty when it is about none
    :ivar role: what the column is for: ``select``, ``filter``, ``order``, ``payload``, ``conflict``
    """

    code: str
    reason: str
    table: str = ""
    column: str = ""
    role: str = ""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one call on this schema.

    :ivar outcome: :data:`RUNS`, :data:`FAILS` or :data:`UNKNOWN`
    :ivar problems: why it fails
    :ivar unknown: what could not be looked at; also of a call that fails
    """

    outcome: str
    problems: tuple[Problem, ...] = ()
    unknown: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "problems": [asdict(problem) for problem in self.problems],
            "unknown": list(self.unknown),
        }


def verdict(problems: Sequence[Problem], unknown: Sequence[str]) -> Verdict:
    """One problem is enough to fail; a call runs only when there was nothing that could not be looked at."""
    outcome = FAILS if problems else UNKNOWN if unknown else RUNS
    return Verdict(outcome, tuple(dict.fromkeys(problems)), tuple(dict.fromkeys(unknown)))


@dataclass(frozen=True)
class Lack:
    """What a table lacks.

    :ivar kind: ``table``, ``column``, ``unique key``, ``foreign key``, ``function`` or ``other``
    :ivar name: of the column, columns or function
    :ivar calls: ``file:line`` of the calls that want it
    """

    table: str
    kind: str
    name: str
    code: str
    reason: str
    calls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Proof:
    """The proof of all calls against one schema.

    :ivar verdicts: one a call, in the order of the calls
    :ivar counted: whether a call counts: those of tests do not
    :ivar lacks: per table, what the schema lacks for the calls that count
    """

    schema: str
    verdicts: tuple[Verdict, ...]
    counted: tuple[bool, ...]
    lacks: tuple[Lack, ...] = field(default=())

    def number(self, outcome: str) -> int:
        """How many calls that count have this outcome."""
        pairs = zip(self.verdicts, self.counted, strict=True)
        return sum(counts and one.outcome == outcome for one, counts in pairs)

    @property
    def sentence(self) -> str:
        """For a person, and for the gate."""
        total = sum(self.counted)
        unknown = self.number(UNKNOWN)
        more = f"; of {unknown} it is not known" if unknown else ""
        return f"{self.number(FAILS)} of {total} calls of the code would fail on this schema{more}."

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "sentence": self.sentence,
            "counts": {outcome: self.number(outcome) for outcome in (RUNS, FAILS, UNKNOWN)},
            "verdicts": [one.as_json() for one in self.verdicts],
            "lacks": [asdict(lack) | {"calls": list(lack.calls)} for lack in self.lacks],
        }


def gate(proof: Proof, fail_on: str) -> None:
    """Stop when calls would fail, if that is wanted.

    :param fail_on: :data:`FAIL_ON_MISSING` or :data:`FAIL_ON_NONE`
    :raises CallsWouldFail: with what the schema lacks, and the calls that want it
    :raises ValueError: another value
    """
    if fail_on not in (FAIL_ON_MISSING, FAIL_ON_NONE):
        raise ValueError(f"audit_fail_on is {FAIL_ON_MISSING} or {FAIL_ON_NONE}, not {fail_on!r}")
    if fail_on == FAIL_ON_NONE or not proof.number(FAILS):
        return
    lines = [f"  {lack.code} {lack.reason}: {', '.join(lack.calls)}" for lack in proof.lacks[:_NAMED]]
    if len(proof.lacks) > _NAMED:
        lines.append(f"  and {len(proof.lacks) - _NAMED} more; the report has all")
    raise CallsWouldFail(
        "\n".join([proof.sentence, *lines]),
        hint="audit.sql of the report proposes what is missing; audit_fail_on: none lets the run go on.",
        details={"counts": proof.as_json()["counts"]},
    )
