"""The chain of log lines that proves a reply: its order, its phone, its nonce, and what is no proof."""

import itertools
import re
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_events import seconds
from ansible.module_utils.rollout.log_patterns import parse
from ansible.module_utils.rollout.probe_chain import (
    DEFAULT_CHAIN,
    DEFAULT_INSTEAD,
    Chain,
    Progress,
    Sighting,
    follows,
    judge,
    make_chain,
)
from hypothesis import given
from hypothesis import strategies as st

PHONE, OTHER = "70000000003", "70000000004"
NONCE = "kfzr-bwtm"
WORKER, CLIENT = "ai-admin-worker-v2", "baileys-whatsapp-service"
CHAIN = make_chain(DEFAULT_CHAIN, DEFAULT_INSTEAD, PHONE, NONCE)

# The lines as the services print them; "newer" is the other wording of the same step.
PROCESSING = f'💬 Processing message from {PHONE}: "Hello {NONCE}, are you there?"'
PROCESSING_NEWER = f'📲 [WHATSAPP] Processing message from {PHONE}: "Hello {NONCE}"'
SENDING = f"🤖 Bot sending 1 messages to {PHONE}"
SENDING_NEWER = f"🤖 Bot sending 2 messages to {PHONE} via whatsapp"
ACCEPTED = "✅ Message sent successfully via API"
SENT = f"✅ Message sent to {PHONE}@s.whatsapp.net for company 100001"
ERROR = f'🤖 Bot response to {PHONE} (error): "Sorry"'
REACTION = f"❤️ Reaction sent to {PHONE}"
COMPLETED = "✅ Job 42 completed"


class Logs:
    """Two services' logs, seen through a chain."""

    def __init__(self, chain: Chain = CHAIN) -> None:
        self.chain = chain
        self.seen: list[Sighting] = []
        self.lines = 0

    def write(self, service: str, message: str, second: int | None, fields: str = "") -> "Logs":
        self.lines += 1
        stamp = "" if second is None else f',"timestamp":"2025-11-09T18:30:{second:02}.000Z"'
        raw = f'2025-11-09 21:30:00: \x1b[32minfo\x1b[39m: {message} {{"env":"production"{fields}{stamp}}}'
        self.seen += self.chain.sightings([service], service, self.lines, parse(raw.encode()), 1.0)
        return self

    def raw(self, service: str, text: str) -> "Logs":
        self.lines += 1
        self.seen += self.chain.sightings([service], service, self.lines, parse(text.encode()), 1.0)
        return self

    def judge(self) -> Progress:
        return judge(self.chain, self.seen)


def healthy(*, without: str = "", second: dict[str, int | None] | None = None) -> Logs:
    """A whole reply, with the client's line before the worker's last, as it is in reality."""
    times: dict[str, int | None] = {"processing": 1, "sending": 3, "sent": 4, "accepted": 5, **(second or {})}
    logs = Logs()
    for name, service, message in (
        ("processing", WORKER, PROCESSING),
        ("sending", WORKER, SENDING),
        ("sent", CLIENT, SENT),
        ("accepted", WORKER, ACCEPTED),
    ):
        if name != without:
            logs.write(service, message, times[name])
    return logs


def test_the_whole_chain_is_a_reply() -> None:
    found = healthy().judge()
    assert found.complete
    assert list(found.found) == ["processing", "sending", "accepted", "sent"]
    assert found.found["sent"].at == seconds("2025-11-09T18:30:04Z")
    assert (found.missing, found.instead, found.final) == ("", (), None)


def test_the_newer_wording_is_a_reply_too() -> None:
    logs = Logs().write(WORKER, PROCESSING_NEWER, 1).write(WORKER, SENDING_NEWER, 2)
    assert logs.write(WORKER, ACCEPTED, 4).write(CLIENT, SENT, 3).judge().complete


def test_files_may_be_read_in_any_order() -> None:
    logs = Logs().write(CLIENT, SENT, 4)
    logs.write(WORKER, PROCESSING, 1).write(WORKER, SENDING, 3).write(WORKER, ACCEPTED, 5)
    assert logs.judge().complete


@pytest.mark.parametrize("missing", ["processing", "sending", "accepted", "sent"])
def test_each_step_is_needed(missing: str) -> None:
    found = healthy(without=missing).judge()
    assert not found.complete
    assert found.missing == missing


@pytest.mark.parametrize(
    "line",
    [
        COMPLETED,
        REACTION,
        f"🤖 Bot sending 0 messages to {PHONE}",
        f"🤖 Bot sending 1 messages to {OTHER}",
        f"🤖 Bot sending 1 messages to {PHONE}7",
        f"🤖 Bot sending 1 messages to 1{PHONE}",
        f'🤖 Message 1/1 to {PHONE}: "Bot sending 1 messages to {PHONE}"',
    ],
)
def test_what_is_no_step(line: str) -> None:
    logs = Logs().write(WORKER, PROCESSING, 1).write(WORKER, line, 2)
    found = logs.write(WORKER, ACCEPTED, 5).write(CLIENT, SENT, 4).judge()
    assert found.missing == "sending"


@pytest.mark.parametrize(
    ("changed", "missing"),
    [
        ({"sent": 2}, "sent"),  # before the worker wrote anything: sent for another reason
        ({"sent": 3}, ""),  # within the same millisecond
    ],
)
def test_the_client_sends_after_the_worker_asks(changed: dict[str, int | None], missing: str) -> None:
    assert healthy(second=changed).judge().missing == missing


def test_an_earlier_line_of_the_same_file_is_not_the_step() -> None:
    logs = Logs().write(WORKER, ACCEPTED, 1).write(WORKER, SENDING, 1).write(WORKER, PROCESSING, 1)
    found = logs.write(CLIENT, SENT, 1).judge()
    assert (list(found.found), found.missing) == (["processing"], "sending")


def test_another_nonce_or_phone_is_another_message() -> None:
    for line in (PROCESSING.replace(NONCE, "other"), PROCESSING.replace(PHONE, OTHER)):
        logs = Logs().write(WORKER, line, 1).write(WORKER, SENDING, 2).write(CLIENT, SENT, 3)
        found = logs.write(WORKER, ACCEPTED, 4).judge()
        assert (found.found, found.missing) == ({}, "processing")


def test_what_is_logged_for_another_customer_is_not_taken_for_ours() -> None:
    logs = Logs().write(WORKER, PROCESSING, 1).write(WORKER, SENDING, 2).write(CLIENT, SENT, 3)
    logs.write(WORKER, ACCEPTED, 4, f',"phone":"{OTHER}"')
    assert logs.judge().missing == "accepted"
    assert logs.write(WORKER, ACCEPTED, 5, f',"phone":"+{PHONE}"').judge().complete


def test_a_customers_line_break_makes_no_step() -> None:
    logs = Logs().write(WORKER, PROCESSING, 1)
    logs.raw(WORKER, f"Bot sending 1 messages to {PHONE}").raw(
        WORKER, f"12: Bot sending 1 messages to {PHONE}"
    )
    assert logs.judge().missing == "sending"


def test_an_error_reply_is_none_even_when_it_is_sent() -> None:
    logs = healthy()
    assert logs.judge().complete
    found = logs.write(WORKER, ERROR, 6).judge()
    assert not found.complete
    assert found.final is not None and found.final.name == "error_reply"


@pytest.mark.parametrize("line", [ERROR.replace(PHONE, OTHER), f'"{ERROR}"'])
def test_an_error_of_another_is_not_ours(line: str) -> None:
    assert healthy().write(WORKER, line, 6).judge().complete


def test_an_error_before_our_message_is_not_its_own() -> None:
    logs = Logs().write(WORKER, ERROR, 0)
    assert logs.judge().final is None
    assert [one.name for one in logs.judge().instead] == ["error_reply"]
    logs.write(WORKER, PROCESSING, 1)
    assert logs.judge().instead == ()


def test_what_was_seen_instead_is_told_once_a_kind() -> None:
    logs = Logs().write(WORKER, PROCESSING, 1)
    logs.write(WORKER, REACTION, 2).write(WORKER, COMPLETED, 3).write(WORKER, COMPLETED, 9)
    found = logs.judge()
    assert [(one.name, one.at) for one in found.instead] == [
        ("reaction", seconds("2025-11-09T18:30:02Z")),
        ("job_completed", seconds("2025-11-09T18:30:09Z")),
    ]
    assert (found.final, found.missing) == (None, "sending")
    other = Logs().write(WORKER, f'💬 Processing message from {PHONE}: "Good morning"', 1).judge()
    assert [one.name for one in other.instead] == ["other_message"]


def test_without_times_the_order_of_two_files_is_not_held_against_them() -> None:
    nothing: dict[str, int | None] = dict.fromkeys(["processing", "sending", "sent", "accepted"])
    assert healthy(second=nothing).judge().complete
    # Within a file it is known.
    logs = Logs().write(WORKER, SENDING, None).write(WORKER, PROCESSING, None).write(CLIENT, SENT, None)
    assert logs.judge().missing == "sending"


def test_pino_lines_of_another_application() -> None:
    chain = make_chain(
        [
            {"name": "taken", "service": "bot", "regex": "Incoming from {phone}: .*{nonce}"},
            {"name": "answered", "service": "bot", "regex": r"Reply \d{1,3} delivered to {phone}"},
        ],
        [],
        PHONE,
        NONCE,
    )
    logs = Logs(chain).raw("bot", f'{{"level":30,"msg":"Incoming from {PHONE}: Hi {NONCE}"}}')
    assert logs.judge().missing == "answered"
    assert logs.raw("bot", f'{{"level":30,"msg":"Reply 12 delivered to {PHONE}"}}').judge().complete
    assert chain.services == ["bot"]


STEP: dict[str, Any] = {"name": "taken", "service": "bot", "regex": "From {phone} {nonce}"}


@pytest.mark.parametrize(
    ("steps", "instead", "place"),
    [
        ([], [], "chain"),
        ([{**STEP, "regex": "From {phone}"}], [], "chain"),
        ([{**STEP, "regex": "{nonce}"}], [], "chain"),
        ([{**STEP, "more": 1}], [], "chain[0]"),
        ([{**STEP, "final": True}], [], "chain[0]"),
        ([{**STEP, "service": ""}], [], "chain[0]"),
        ([STEP, STEP], [], "chain[1]"),
        ([STEP, {**STEP, "name": "b", "after": "c"}], [], "chain[1]"),
        ([STEP, {**STEP, "name": "b", "after": "b"}], [], "chain[1]"),
        ([{**STEP, "after": "taken"}], [], "chain[0]"),
        ([STEP], [STEP], "instead[0]"),
        ([STEP], [{**STEP, "name": "b", "after": "taken"}], "instead[0]"),
    ],
)
def test_a_chain_that_proves_nothing_is_refused(steps: Any, instead: Any, place: str) -> None:
    with pytest.raises(RolloutError) as error:
        make_chain(steps, instead, PHONE, NONCE)
    assert error.value.details == {"reason": "bad_chain", "place": place}
    assert make_chain([STEP], [{**STEP, "name": "b", "final": True}], PHONE, NONCE).instead[0].final


def test_a_bad_expression_is_refused_without_the_phone() -> None:
    with pytest.raises(RolloutError) as error:
        make_chain([{**STEP, "regex": "{phone} {nonce} ("}], [], PHONE, NONCE)
    assert error.value.details["reason"] == "bad_pattern"
    assert not re.search(PHONE, str(error.value))


@st.composite
def readings(draw: st.DrawFn) -> list[Sighting]:
    """Lines of both services, each file in the order of its times."""
    names = {WORKER: ["processing", "sending", "accepted"], CLIENT: ["sent"]}
    found = []
    for service, of_service in names.items():
        lines = draw(st.lists(st.tuples(st.sampled_from(of_service), st.integers(0, 5)), max_size=6))
        for number, ((name, _), at) in enumerate(zip(lines, sorted(at for _, at in lines), strict=True)):
            found.append(Sighting(name, service, service, number, float(at), 1.0))
    return found


@given(readings())
def test_a_chain_is_complete_when_some_choice_of_lines_is_in_order(seen: list[Sighting]) -> None:
    """Taking the first line after each cause finds a chain whenever trying all choices finds one."""
    choices = [[one for one in seen if one.name == step.name] for step in CHAIN.steps]
    causes = {step.name: step.after for step in CHAIN.steps}

    def in_order(chosen: tuple[Sighting, ...]) -> bool:
        by_name = {one.name: one for one in chosen}
        return all(follows(one, by_name[causes[one.name]]) for one in chosen if causes[one.name])

    assert judge(CHAIN, seen).complete == any(map(in_order, itertools.product(*choices)))
