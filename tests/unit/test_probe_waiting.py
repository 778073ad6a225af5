"""On log files: only what came since counts, what is waited for, what is no verdict. The clock is the test's."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.message_probe import not_tested, probe
from ansible.module_utils.rollout.probe_chain import DEFAULT_CHAIN, DEFAULT_INSTEAD, make_chain
from ansible.module_utils.rollout.probe_request import DEFAULT_FIELDS, DEFAULT_TEXT, Request, make_request

PHONE = "12025550199"
WORKER, CLIENT = "ai-admin-worker-v2", "baileys-whatsapp-service"
BEGIN = 1762713000.0  # 2025-11-09T18:30:00Z


class Bot:
    """Two services with their logs, and a clock that moves on only while somebody sleeps.

    :ivar timetable: what is written at which second after the question
    """

    def __init__(self, folder: Path) -> None:
        self.now = BEGIN
        self.asked = 0
        self.logs = {service: [str(folder / f"{service}-out.log")] for service in (WORKER, CLIENT)}
        self.timetable: list[tuple[float, Callable[[], object]]] = []
        self.request = make_request("http://127.0.0.1:1/webhook", PHONE, DEFAULT_TEXT, DEFAULT_FIELDS)
        self.say(WORKER, f'Processing message from {PHONE}: "{self.request.nonce}"')

    def say(self, service: str, message: str) -> None:
        stamp = f"2025-11-09T18:30:{self.now - BEGIN:06.3f}Z"
        with Path(self.logs[service][0]).open("a") as log:
            log.write(f'\x1b[32minfo\x1b[39m: {message} {{"timestamp":"{stamp}"}}\n')

    def will_say(self, second: float, service: str, message: str) -> None:
        self.timetable.append((second, lambda: self.say(service, message)))

    def will_answer(self) -> None:
        nonce = self.request.nonce
        self.will_say(9, WORKER, f'Processing message from {PHONE}: "{nonce}"')
        self.will_say(20, WORKER, f"Bot sending 1 messages to {PHONE}")
        self.will_say(21, CLIENT, f"Message sent to {PHONE}@s.whatsapp.net for company 1")
        self.will_say(22, WORKER, "Message sent successfully via API")

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        due = [what for second, what in self.timetable if BEGIN + second <= self.now]
        self.timetable = [entry for entry in self.timetable if BEGIN + entry[0] > self.now]
        for what in due:
            what()

    def post(self, request: Request) -> None:
        assert request is self.request
        self.asked += 1

    def probe(self, timeout: float = 30, **more: Any) -> dict[str, Any]:
        chain = make_chain(DEFAULT_CHAIN, DEFAULT_INSTEAD, PHONE, self.request.nonce)
        given = {"post": self.post, "clock": lambda: self.now, "sleep": self.sleep, **more}
        logs = given.pop("logs", self.logs)
        return probe(self.request, chain, logs, timeout, **given)


@pytest.fixture
def bot(tmp_path: Path) -> Bot:
    return Bot(tmp_path)


def test_a_reply_is_proven_step_by_step(bot: Bot) -> None:
    bot.will_answer()
    found = bot.probe()
    assert found["status"] == "passed"
    assert "details" not in found
    assert bot.asked == 1
    assert [(step["name"], step["seen"]) for step in found["steps"]] == [
        ("processing", True),
        ("sending", True),
        ("accepted", True),
        ("sent", True),
    ]
    assert [round(step["seen_at"] - step["at"]) for step in found["steps"]] == [0, 0, 0, 0]
    assert 22 <= found["seconds"] < 23
    assert found["phone"] == "*********99"
    assert PHONE not in json.dumps(found)


def test_what_was_there_before_is_no_step(bot: Bot) -> None:
    found = bot.probe(timeout=5)
    assert (found["status"], found["missing"]) == ("failed", "processing")
    assert found["details"] == {"reason": "no_reply"}
    assert "no step was seen at all" in found["reason"]
    assert 5 <= found["seconds"] < 6


def test_a_reply_that_stops_half_way_says_where(bot: Bot) -> None:
    bot.will_answer()
    del bot.timetable[2:]
    bot.will_say(23, WORKER, "Job 7 completed")
    found = bot.probe()
    assert found["status"] == "failed"
    assert re.search(
        r"step accepted of ai-admin-worker-v2 is missing; the last step seen is sending \(20\.\d s after asking\);"
        r" seen besides: job_completed",
        found["reason"],
    ), found["reason"]


def test_a_reply_in_the_last_moment_counts(bot: Bot) -> None:
    bot.will_answer()
    assert bot.probe(timeout=21.9)["status"] == "passed"


@pytest.mark.parametrize("moment", [22 + tenth / 10 for tenth in range(8)])
def test_what_is_written_before_the_deadline_counts_whenever_the_logs_are_looked_at(
    bot: Bot, moment: float
) -> None:
    """Each look at the clock takes 0.4 s, so that the time may be over between it and a look at the logs."""
    bot.will_answer()
    bot.timetable[-1] = (moment, bot.timetable[-1][1])

    def passing() -> float:
        bot.sleep(0.4)
        return bot.now

    # The message is taken 0.8 s after the beginning, the last line written just before the time is over.
    assert bot.probe(timeout=moment - 0.7, clock=passing)["status"] == "passed"


def test_an_error_reply_ends_the_waiting(bot: Bot) -> None:
    bot.will_answer()
    del bot.timetable[1:]
    bot.will_say(12, WORKER, f'Bot response to {PHONE} (error): "Sorry"')
    found = bot.probe()
    assert (found["status"], found["details"]) == ("failed", {"reason": "error_reply"})
    assert found["seconds"] < 13
    assert "ai-admin-worker-v2 logged error_reply instead" in found["reason"]


def test_a_reply_is_followed_through_a_rotation(bot: Bot, tmp_path: Path) -> None:
    bot.will_answer()
    log = Path(bot.logs[WORKER][0])
    bot.timetable.insert(1, (10, lambda: log.rename(tmp_path / f"{log.name}.1")))
    found = bot.probe()
    assert (found["status"], found["continuity"]) == ("passed", "unproven")


def test_a_log_that_was_emptied_is_no_verdict(bot: Bot) -> None:
    bot.will_answer()
    bot.timetable.insert(1, (10, lambda: Path(bot.logs[WORKER][0]).write_text("")))
    del bot.timetable[2]
    with pytest.raises(RolloutError) as error:
        bot.probe()
    assert error.value.details["reason"] == "log_lost"


def test_nothing_is_asked_when_a_step_could_not_be_seen(bot: Bot, tmp_path: Path) -> None:
    for logs in (
        {WORKER: bot.logs[WORKER]},
        {**bot.logs, CLIENT: []},
        {**bot.logs, CLIENT: ["/dev/null"]},
        {**bot.logs, CLIENT: ["relative.log"]},
        {**bot.logs, CLIENT: [str(tmp_path)]},
    ):
        with pytest.raises(RolloutError) as error:
            bot.probe(logs=logs)
        assert error.value.details == {"reason": "no_log", "service": CLIENT}
    with pytest.raises(RolloutError, match="timeout is 0 s"):
        bot.probe(timeout=0)
    assert bot.asked == 0


def test_a_refused_question_is_asked_once_and_waited_for_no_longer(bot: Bot) -> None:
    bot.will_answer()

    def refuse(_: Request) -> None:
        bot.asked += 1
        raise RolloutError("refused", details={"reason": "http_status"})

    with pytest.raises(RolloutError):
        bot.probe(post=refuse)
    assert (bot.asked, bot.now) == (1, BEGIN)


def test_not_tested_is_neither_passed_nor_failed() -> None:
    found = not_tested("check_mode", "in check mode no message is sent", PHONE)
    assert found["status"] == "not_tested"
    assert PHONE not in str(found)
