"""Pictures of the README: they are there, small, and tell nothing about where they were made."""

import re

import pytest

from sandbox.errors import SandboxError
from sandbox.screenshots import (
    BEGINNING,
    COLUMNS,
    END,
    FOLDER,
    IMAGES,
    RECAP,
    ROOT,
    require_neutral,
    terminal_picture,
)

PICTURES = ("terminal.svg", "report.png", "report-phone.png")


@pytest.mark.parametrize("name", PICTURES)
def test_the_readme_shows_it_with_words_for_who_cannot_see_it(name: str) -> None:
    path = IMAGES / name
    assert 1_000 < path.stat().st_size < 300_000
    readme = (ROOT / "README.md").read_text()
    (alt,) = re.findall(rf'<img src="docs/images/{re.escape(name)}"[^>]* alt="([^"]+)"', readme)
    assert len(alt) > 20


def test_no_other_picture_lies_there() -> None:
    assert {path.name for path in IMAGES.iterdir()} == set(PICTURES)


def shown(picture: str) -> list[str]:
    """Lines of text of a picture."""
    rows: dict[str, str] = {}
    for at, text in re.findall(r'<text class="terminal-r\d+" [^>]*? y="([\d.]+)"[^>]*>(.*?)</text>', picture):
        rows[at] = rows.get(at, "") + text.replace("&#160;", " ")
    return [row.rstrip() for row in rows.values()]


def test_a_terminal_is_drawn_as_it_looks() -> None:
    picture = terminal_picture("\x1b[0;32mgreen\x1b[0m <b>\n\rwatch 1/2\r\x1b[Kwatch 2/2\n", "title")
    assert shown(picture) == ["green &lt;b&gt;", "watch 2/2"]
    assert "\x1b" not in picture
    # A picture that is opened asks nobody for anything.
    assert "url(" not in picture.replace("url(#", "")
    assert "@import" not in picture


def test_a_long_run_is_cut_where_it_is_marked() -> None:
    lines = [f"line {number}" for number in range(100)] + ["PLAY RECAP ***"] + [f"row {n}" for n in range(60)]
    drawn = shown(terminal_picture("\n".join(lines), "title"))
    assert drawn[:BEGINNING] == lines[:BEGINNING]
    assert drawn[BEGINNING : BEGINNING + 2] == ["    ⋮", "PLAY RECAP ***"]
    assert drawn[-END - 1] == "    ⋮"
    assert drawn[-END:] == lines[-END:]
    assert len(drawn) == BEGINNING + RECAP + END + 2
    assert len(shown(terminal_picture("x" * (COLUMNS + 1), "title"))) == 2


def test_pictures_that_say_where_they_were_made_are_refused() -> None:
    require_neutral(["Report: reports/latest"])
    with pytest.raises(SandboxError, match="would show"):
        require_neutral(["fine", f"read {ROOT}/ansible.cfg"])


def test_the_picture_names_no_folder_of_a_person() -> None:
    told = " ".join(shown((IMAGES / "terminal.svg").read_text()))
    assert str(FOLDER) in told
    paths = re.findall(r"(?<![\w.~])/[\w.-]+/[\w./-]+", told)
    assert [path for path in paths if not path.startswith((f"{FOLDER}/", "/usr/"))] == []
