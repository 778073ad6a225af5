"""One verdict of many observations: the worst counts, all are told. Pure."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.rollout.findings import STATUSES, Verdict

#: More lines than this are counted, not told; the evidence holds them all.
MOST_LINES = 20


class Judgement:
    """Collects what is wrong with an item.

    :param expected: what has to be, for people
    """

    def __init__(self, expected: str) -> None:
        self._expected = expected
        self._lines: dict[str, list[str]] = {status: [] for status in STATUSES}
        self._hints: list[str] = []

    def fail(self, text: str, hint: str = "") -> None:
        """Something is not as it has to be."""
        self._add("failed", text, hint)

    def warn(self, text: str, hint: str = "") -> None:
        """Something is worth knowing."""
        self._add("warning", text, hint)

    def leave(self, text: str, hint: str = "") -> None:
        """Something was not tested."""
        self._add("not_tested", text, hint)

    def leave_untried(self, text: str) -> None:
        """There was nothing to try: not tested, unless something was noted that says more."""
        if not any(self._lines.values()):
            self.leave(f"nothing was tried: {text}")

    def verdict(self, well: str, **evidence: Any) -> Verdict:
        """The verdict on the whole.

        :param well: what was seen where nothing is wrong
        """
        status = next((status for status in STATUSES if self._lines[status]), "passed")
        told = [line for lines in self._lines.values() for line in lines]
        if len(told) > MOST_LINES:
            told = [*told[:MOST_LINES], f"and {len(told) - MOST_LINES} more"]
        return Verdict(
            status,
            self._expected,
            "\n".join(told) if told else well,
            " ".join(self._hints),
            {
                **evidence,
                **{status: lines for status, lines in self._lines.items() if lines},
            },
        )

    def _add(self, status: str, text: str, hint: str) -> None:
        self._lines[status].append(text)
        if hint and hint not in self._hints:
            self._hints.append(hint)
