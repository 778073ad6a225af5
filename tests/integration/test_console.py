"""Callback rollout in real runs: nothing is lost, everything is said once, in a terminal and in a log."""

import os
import re
import signal
from pathlib import Path

import pytest

from sandbox.databases import Database
from sandbox.terminal import Shown
from tests.integration.console_project import NEVER, ConsoleProject, missing
from tests.integration.rollout_project import RolloutProject, changed
from tests.waiting import until

COLUMNS = 100
#: A run in which nothing fails in the end.
GREEN = ("--limit", "a", "--skip-tags", "slow", "-e", "fails=false")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ConsoleProject:
    return ConsoleProject(tmp_path_factory.mktemp("console") / "project")


@pytest.fixture(scope="module")
def log(project: ConsoleProject) -> Shown:
    return project.in_a_pipe()


@pytest.fixture(scope="module")
def screen(project: ConsoleProject) -> Shown:
    return project.in_a_terminal(columns=COLUMNS)


@pytest.fixture(scope="module")
def green(project: ConsoleProject) -> Shown:
    return project.in_a_pipe(*GREEN)


@pytest.fixture(scope="module")
def default(project: ConsoleProject) -> Shown:
    """By the default callback."""
    return project.in_a_pipe("--skip-tags", "slow", callback="default")


def bare(text: str) -> str:
    """Without escape codes."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def test_a_log_has_everything_once(log: Shown) -> None:
    assert missing(log.text) == {}, log.text
    assert log.code == 4, "Ansible's own: a host failed, and one could not be reached"


def test_a_terminal_has_everything_once(screen: Shown) -> None:
    assert missing(bare(screen.text)) == {}, screen.text


def test_what_a_callback_swallows_is_missed(project: ConsoleProject) -> None:
    """The two tests above would see it."""
    swallowed = {
        "_show_failure": {"FIRST_LINE", "SECOND_LINE", "STDERR", "TRACE", "ITEM_TWO", "UNREACHED", "THE_END"},
        "_say": {"MESSAGE", "LISTED_ONE", "LISTED_TWO", "VARIABLE", "MEND_IT", "ATTENTION"},
        "_handle_warnings": {"WARNED", "WARNED_IN_A_LOOP", "DEPRECATED"},
        "v2_runner_retry": {"RETRYING"},
    }
    source = (project.folder / "callback_plugins/rollout.py").read_text()
    methods = "".join(f"    def {name}(self, *arguments): pass\n" for name in swallowed)
    spoilt = f"{source}\n\nclass CallbackModule(CallbackModule):\n{methods}"
    project.write("callback_plugins/spoilt.py", spoilt.replace("name: rollout", "name: spoilt"))
    gone = set(missing(project.in_a_pipe(callback="spoilt").text))
    assert gone == set().union(*swallowed.values()) | {"RESCUED_REASON"}


@pytest.mark.parametrize("word", NEVER)
def test_what_is_hidden_stays_hidden(
    project: ConsoleProject, log: Shown, screen: Shown, default: Shown, word: str
) -> None:
    assert word not in log.text
    assert word not in screen.text
    assert log.text.count("no_log: true") == 2, "it is said that something was hidden"
    assert word not in project.in_a_pipe("-vv", "--skip-tags", "slow").text
    # The default callback shows the text of the error: without this line the test would prove nothing.
    assert word in default.text


def test_a_failure_says_where_and_that_it_is_handled(log: Shown) -> None:
    lines = log.text.splitlines()
    at = lines.index("fatal: [a]: FAILED! Fail, to be rescued")
    assert lines[at + 1] == "    RESCUED_REASON"
    assert re.fullmatch(r"    Origin: everything\.yml:\d+:\d+", lines[at + 2])
    assert lines[at + 3].endswith("is rescued: the playbook handles this failure; next comes: Mend it")
    at = lines.index("fatal: [b]: FAILED! End")
    assert "rescued" not in lines[at + 3]


def test_a_run_is_quiet_inside_its_phases(log: Shown) -> None:
    assert "Inner task" not in log.text
    assert "Do what nobody needs to see" in log.text


def phases(text: str) -> list[tuple[str, str]]:
    """Number and title of the phases that were begun."""
    return re.findall(r"^\((\d+/\d+|rescue)\) (.+?)(?: ….*)?$", text, re.MULTILINE)


def test_phases_are_numbered_in_a_log_and_in_a_terminal(log: Shown, screen: Shown) -> None:
    begun = phases(log.text)
    assert [number for number, _title in begun if number != "rescue"] == [f"{n}/11" for n in range(1, 12)]
    assert ("rescue", "Mend it") in begun
    assert phases(bare(screen.text)) == begun


SECONDS = r"\d+\.\d s"


@pytest.mark.parametrize(
    ("title", "came"),
    [
        ("Do what nobody needs to see", "2 changed"),
        ("Leave everybody alone", "skipped"),
        ("Say something", "skipped on b"),
        ("End", "1 changed, FAILED on b"),
        ("Reach everybody", "FAILED on lost"),
    ],
)
def test_phases_are_timed_and_say_what_came_of_them(log: Shown, screen: Shown, title: str, came: str) -> None:
    for text in (log.text, bare(screen.text)):
        (after,) = re.findall(rf"^\(\d+/\d+\) {title}\b(.*?)(?=^\(|^PLAY)", text, re.MULTILINE | re.DOTALL)
        assert re.search(rf"… {SECONDS}, {came}$", after, re.MULTILINE), after


def test_a_quiet_phase_has_one_line_in_a_terminal(screen: Shown) -> None:
    assert re.search(
        rf"^\(2/11\) Do what nobody needs to see … {SECONDS}, 2 changed$", bare(screen.text), re.MULTILINE
    )


def test_live_lines_have_lines_of_their_own(log: Shown, screen: Shown) -> None:
    live = ["live 1/2 · all well", "live 2/2 · all well"]
    for text in (log.text, bare(screen.text)):
        assert [line for line in text.splitlines() if "live" in line and "Show" not in line] == live


def test_a_log_is_plain_and_a_terminal_is_coloured(
    log: Shown, screen: Shown, project: ConsoleProject
) -> None:
    assert "\x1b" not in log.text
    assert "\r" not in log.text
    assert "│" not in log.text
    assert "(2/11) Do what nobody needs to see\n" in log.text, "begun and ended are two events"
    assert "\x1b[0;31m" in screen.text
    uncoloured = project.in_a_terminal(*GREEN, NO_COLOR="1").text
    assert "\x1b" not in uncoloured
    assert "╭" in uncoloured, "a table needs no colour"


def test_a_difference_is_shown(log: Shown) -> None:
    assert log.text.count("+DIFFERENCE") == 2


def recap(text: str) -> str:
    (found,) = re.findall(r"^PLAY RECAP \*+\n(?:\S+ +: ok=.*\n)+", text, re.MULTILINE)
    return str(found)


def test_the_recap_is_ansibles(project: ConsoleProject, log: Shown, default: Shown) -> None:
    assert recap(project.in_a_pipe("--skip-tags", "slow").text) == recap(default.text)
    # What molecule looks for, in the whole output, to tell whether a second run changed something.
    assert re.findall(r"changed=[1-9]\d*", log.text) == re.findall(r"changed=[1-9]\d*", recap(log.text))


def test_the_end_is_the_checklist_and_the_outcome(log: Shown, green: Shown) -> None:
    after = log.text.partition("PLAY RECAP")[2].splitlines()
    assert "passed   All is there  11 of 11" in after, "host a did well"
    assert after[-1].startswith("FAILED after ")
    told = green.text.partition("PLAY RECAP")[2].splitlines()
    assert told[3:6] == [
        "checks: 1 warning, 1 passed",
        "warning  It is fast    ATTENTION: slow",
        "passed   All is there  11 of 11",
    ]
    handled = "after 1 failure that the playbook handled"
    assert re.fullmatch(
        rf"The run ended well after {SECONDS}, {handled}: 3 tasks changed something\.", told[-1]
    )


def test_a_green_checklist_is_no_news_where_something_failed_later(project: ConsoleProject) -> None:
    told = project.in_a_pipe("--limit", "a", "--skip-tags", "slow", "-e", "fails_on=a").text
    assert "FAILED after" in told
    assert "All is there" not in told


@pytest.mark.parametrize("verbosity", ["-v", "-vvvv"])
def test_with_v_everything_is_there_that_the_default_callback_shows(
    project: ConsoleProject, verbosity: str
) -> None:
    # The default callback shows the text of an error that no_log hides; that is left out on purpose.
    asked = (verbosity, "--skip-tags", "slow,secret")
    # Unbuffered: its warnings, on standard error, would otherwise come before lines that were shown earlier.
    default = project.in_a_pipe(*asked, callback="default", PYTHONUNBUFFERED="1").text
    mine = iter(comparable(project.in_a_pipe(*asked).text))
    assert "TASK [Inner task]" in default
    lost = [line for line in comparable(default) if line not in mine]
    assert lost == []


def comparable(text: str) -> list[str]:
    """Lines without what differs from run to run."""
    lines = [re.sub(r"[0-9a-f]*\d[0-9a-f.]*", "N", line) for line in text.splitlines()]
    return [line for line in lines if "callback" not in line]


def test_a_log_can_be_followed(project: ConsoleProject) -> None:
    """A line is in the pipe when it is shown, not when a block is full: the run waits until it was read."""
    seen = project.folder / "seen"
    lines = []
    with project.started(*GREEN, "-e", "patience=60") as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if line.startswith("live 1/2"):
                seen.touch()
    seen.unlink()
    assert "was_seen is True" in "".join(lines)


def test_an_interrupted_run_says_where_it_was(project: ConsoleProject) -> None:
    shown = project.folder / "shown"
    shown.unlink(missing_ok=True)
    with project.started(*GREEN, "-e", "patience=60") as process:
        # Not as soon as the line is there: a worker that is interrupted while it hands on a line may keep Ansible
        # waiting for ever, whatever the callback.
        until(shown.exists, "the live line was not shown", patience_s=60)
        os.killpg(process.pid, signal.SIGINT)
        told, _nothing = process.communicate(timeout=60)
    where = r"in \(3/11\) Show a live line"
    assert re.fullmatch(rf"The run ended before its end, after {SECONDS} {where}\.", told.splitlines()[-1])


def test_the_main_job(database: Database, tmp_path: Path) -> None:
    site = RolloutProject(tmp_path / "project", database)
    # A phase that somebody adds is there, counted and timed, without a word about it anywhere else.
    playbook = site.folder / "playbooks/apply.yml"
    text = playbook.read_text().replace(
        "        - name: Verify\n",
        "        - name: Think about it\n          ansible.builtin.debug:\n            msg: thought\n\n"
        "        - name: Verify\n",
    )
    playbook.write_text(text)
    run = site.playbook(
        "apply.yml",
        "-i",
        "prod",
        "--skip-tags",
        "precheck",
        environment={"ANSIBLE_STDOUT_CALLBACK": "rollout"},
    )
    assert run.code == 0, run.output
    begun = phases(run.output)
    total = len(begun)
    assert [number for number, _title in begun] == [f"{n}/{total}" for n in range(1, total + 1)]
    titles = [title for _number, title in begun]
    assert titles.index("Think about it") == titles.index("Verify") - 1
    assert changed(run)
    told = site.report()["summary"]["sentence"]
    assert re.search(rf"^{re.escape(told)} It took {SECONDS}\.$", run.output, re.MULTILINE), run.output
    path = re.search(r"^Report: (reports/.+)$", run.output, re.MULTILINE)
    assert path is not None, run.output
    assert (site.folder / path[1]).is_file()


def test_a_dry_run_has_no_report(project: ConsoleProject) -> None:
    told = project.in_a_pipe("--check", *GREEN).text
    assert "The dry run ended well" in told.splitlines()[-1]
    assert "tasks would change something" in told.splitlines()[-1]


def test_nobody_was_asked(project: ConsoleProject) -> None:
    told = project.in_a_pipe("--tags", "nothing").text
    assert told.splitlines()[-1] == "Nothing was done: no host was asked to do anything."
