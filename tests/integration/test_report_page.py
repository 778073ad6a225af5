"""The pages in a real browser: they open, ask nobody for anything, are accessible, and fit a phone."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible.module_utils.rollout.report.files import render

from sandbox.browser import Look, NoBrowser, Seen, find_browser, look
from tests import recorded_runs

pytestmark = pytest.mark.timeout(400)

PHONE, DESK = (360, 800), (1440, 900)
#: Found by nobody who looks at the page with his own eyes.
TOLERATED = {"minor", "moderate"}


@dataclass(frozen=True)
class Opened:
    """One page as it was opened in every way.

    :ivar audited: with everything unfolded
    :ivar narrow: on a phone, with everything unfolded
    """

    audited: dict[str, Seen]
    narrow: Seen


def open_pages(pages: dict[str, Path]) -> dict[str, Opened]:
    """Open all pages with one browser."""
    looks = []
    for page in pages.values():
        url = page.as_uri()
        looks += [Look(url, scheme, *DESK, unfold=True) for scheme in ("light", "dark")]
        looks.append(Look(url, "light", *PHONE, unfold=True, audit=False))
    seen = iter(look(looks))
    return {name: Opened({scheme: next(seen) for scheme in ("light", "dark")}, next(seen)) for name in pages}


BROKEN_PAGE = """<!DOCTYPE html><html><head><title></title>
<style>body { background: #000; }</style></head>
<body><p style="color:#ddd;background:#fff">Nobody can read this.</p><div style="width:3000px">wide</div>
<img src="http://127.0.0.1:1/picture.png"><script>console.error("broken"); missing();</script></body></html>"""


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Opened]:
    try:
        find_browser()
    except NoBrowser as error:
        pytest.skip(str(error))
    reports = tmp_path_factory.mktemp("reports")
    long = "w" * 150
    cases = {
        "green": {"app": recorded_runs.green()},
        "fleet": {
            "app-1": recorded_runs.rolled_back(),
            f"салон-{long}": recorded_runs.red_item()
            | {"weather": recorded_runs.section(50, 1, summary=long, failed=True, msg=f"{long} {long}")},
        },
    }
    for name, hosts in cases.items():
        recorded_runs.write(reports, name, hosts)
        render(reports, name)
    broken = reports / "broken.html"
    broken.write_text(BROKEN_PAGE)
    pages = {name: reports / name / "report.html" for name in cases}
    return open_pages({**pages, "index": reports / "index.html", "broken": broken})


@pytest.mark.parametrize("name", ["green", "fleet", "index"])
class TestPage:
    def test_it_opens_without_errors_and_asks_nobody(self, opened: dict[str, Opened], name: str) -> None:
        for seen in (*opened[name].audited.values(), opened[name].narrow):
            assert seen.errors == []
            assert seen.requests == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_is_accessible(self, opened: dict[str, Opened], name: str, scheme: str) -> None:
        violations = opened[name].audited[scheme].violations
        assert [one for one in violations if one["impact"] not in TOLERATED] == []

    def test_nothing_sticks_out_of_the_window(self, opened: dict[str, Opened], name: str) -> None:
        page = opened[name]
        assert page.narrow.width == PHONE[0], page.narrow.wide
        assert {seen.width for seen in page.audited.values()} == {DESK[0]}

    def test_light_is_light_and_dark_is_dark(self, opened: dict[str, Opened], name: str) -> None:
        light, dark = (brightness(opened[name].audited[scheme].background) for scheme in ("light", "dark"))
        assert light > 200
        assert dark < 50


def brightness(colour: str) -> float:
    """Of ``rgb(18, 20, 23)``, 0 to 255."""
    red, green, blue = (int(part) for part in colour[4:-1].split(","))
    return (red + green + blue) / 3


def test_what_is_shown_is_what_was_recorded(opened: dict[str, Opened]) -> None:
    text = opened["green"].narrow.text
    for told in (
        "Rolled out: 0001_business_tables and 0002_messages are in force since this run",
        "Имена клиентов читаются как записаны",
        "Memory of the services",
        "30 min",
        "whatsapp_keys",
        "proven by a restore",
        "7 of 7 services online, WhatsApp connected",
        "*********99",
        "max_connections 100",
    ):
        assert told in text
    assert (
        "Not part of this run: checklist, watch, audit of the code's queries." in opened["fleet"].narrow.text
    )


def test_a_page_that_is_not_so_is_noticed(opened: dict[str, Opened]) -> None:
    """Control of every look above."""
    page = opened["broken"]
    seen = page.audited["light"]
    assert any("broken" in error for error in seen.errors)
    assert any("missing is not defined" in error for error in seen.errors)
    assert "http://127.0.0.1:1/picture.png" in seen.requests
    found = {one["id"] for one in seen.violations if one["impact"] not in TOLERATED}
    assert {"color-contrast", "document-title", "html-has-lang", "image-alt"} <= found
    assert page.narrow.width > PHONE[0]
    assert page.narrow.wide
    assert brightness(seen.background) < 50
