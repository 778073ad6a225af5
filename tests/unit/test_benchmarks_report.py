"""The benchmarks' tables, verdicts and exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__, report
from benchmarks.contest import in_turn
from benchmarks.report import BEGIN, END, Ratio, Section


def test_a_ratio_is_held_up_to_its_limit() -> None:
    assert Ratio("a / b", 1.5, 1.5).held
    assert not Ratio("a / b", 1.501, 1.5).held
    assert [Ratio("a / b", value, 1.5).verdict for value in (1.5, 1.6)] == ["held", "MISSED"]


def test_what_could_not_be_measured_is_not_held() -> None:
    ratio = Ratio("a / b", None, 1.5, "no network")
    assert not ratio.held
    assert ratio.verdict == "NOT MEASURED: no network"


def test_one_disturbed_measurement_does_not_move_the_median() -> None:
    assert report.median([1.0, 1.1, 1.2]) == report.median([1.0, 1.1, 60.0])


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0004, "0 ms"), (0.0421, "42 ms"), (0.9994, "999 ms"), (12.345, "12.35 s")]
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert report.duration(seconds) == text


def test_contestants_take_turns_at_being_first() -> None:
    order: list[str] = []

    def contestant(name: str) -> Callable[[], int]:
        return lambda: order.append(name) or len(order)  # type: ignore[func-returns-value]

    found = in_turn({name: contestant(name) for name in "abc"}, 3)
    assert "".join(order) == "abc" + "bca" + "cab"
    assert found == {"a": [1, 6, 8], "b": [2, 4, 9], "c": [3, 5, 7]}


SECTION = Section(
    title="Speed",
    columns=("", "near", "far"),
    rows=[("ours", "1 ms", "12 ms"), ("psql | sed", "100 ms", "2 ms")],
    notes=["Measured twice."],
    ratios=[Ratio("ours / psql", 0.01, 0.5)],
)


def test_a_section_as_text_has_aligned_columns() -> None:
    assert report.as_text(SECTION).splitlines() == [
        "Speed",
        "-----",
        "              near    far",
        "ours          1 ms  12 ms",
        "psql | sed  100 ms   2 ms",
        "  Measured twice.",
    ]


def test_a_section_as_markdown_keeps_its_columns() -> None:
    assert report.as_markdown(SECTION).splitlines() == [
        "### Speed",
        "",
        "|  | near | far |",
        "|---|---:|---:|",
        "| ours | 1 ms | 12 ms |",
        "| psql \\| sed | 100 ms | 2 ms |",
        "",
        "Measured twice.",
    ]


def test_the_document_begins_with_machine_and_verdicts() -> None:
    lines = report.document("Measured here.", [SECTION]).splitlines()
    assert lines[0] == "Measured here."
    assert lines.index("### Required ratios") < lines.index("### Speed")
    assert "| ours / psql | 0.01 | 0.5 | held |" in lines


def test_only_what_stands_between_the_marks_is_replaced() -> None:
    text = f"Prose.\n{BEGIN}\nold\n{END}\nMore prose.\n"
    first = report.between_marks(text, "new")
    assert first == f"Prose.\n{BEGIN}\n\nnew\n{END}\nMore prose.\n"
    assert report.between_marks(first, "new") == first


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_a_document_without_its_marks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="these two lines"):
        report.between_marks(text, "new")


def test_the_repositorys_document_has_its_marks() -> None:
    assert "new" in report.between_marks(__main__.DOCUMENT.read_text(encoding="utf-8"), "new")


class _NoServer:
    """Stands for the server, which these tests do not need."""

    def __enter__(self) -> "_NoServer":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def machine(self) -> str:
        return "Measured nowhere."


@pytest.mark.parametrize(
    ("value", "code", "error"),
    [
        (0.4, 0, ""),
        (0.6, 1, "Missed: ours / psql: MISSED (0.600, allowed 0.5)\n"),
        (None, 1, "Missed: ours / psql: NOT MEASURED: no psql\n"),
    ],
)
def test_the_exit_code_tells_whether_every_ratio_is_held(
    value: float | None,
    code: int,
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    section = Section("Speed", ("", "near"), ratios=[Ratio("ours / psql", value, 0.5, "no psql")])

    def measure(_bench: Any, _say: Any) -> list[Section]:
        return [section]

    document = tmp_path / "performance.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    monkeypatch.setattr(__main__, "Bench", _NoServer)
    monkeypatch.setattr(__main__, "CACHE", tmp_path)
    monkeypatch.setattr(__main__, "DOCUMENT", document)
    monkeypatch.setattr(__main__, "EXPERIMENTS", {"speed": measure})
    assert __main__.main(["--only", "speed"]) == code
    assert capsys.readouterr().err == error
    assert document.read_text() == f"{BEGIN}\n{END}\n"
    assert __main__.main([]) == code
    assert "### Speed" in document.read_text()
