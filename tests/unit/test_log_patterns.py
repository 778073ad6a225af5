"""What a line says, and what of it may be copied: recorded formats with invented values."""

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.log_patterns import (
    DEFAULTS,
    KINDS,
    classify,
    compile_patterns,
    parse,
    trailing_object,
)
from ansible.module_utils.rollout.log_redaction import SAMPLE_LENGTH, WITHHELD, fields, sample

RECORDED = Path(__file__).parents[1] / "fixtures/logs/lines.tsv"
PATTERNS = compile_patterns()


def recorded() -> list[list[str]]:
    lines = RECORDED.read_text().splitlines()[1:]
    return [line.replace("<ESC>", "\x1b").split("\t", 3) for line in lines]


def pattern_of(text: str) -> str:
    found = classify(parse(text.encode()), PATTERNS)
    return found.name if found else "-"


@pytest.mark.parametrize(("name", "kind", "level", "text"), recorded())
def test_a_recorded_line(name: str, kind: str, level: str, text: str) -> None:
    found = classify(parse(text.encode()), PATTERNS)
    assert (found.name if found else "-", found.kind if found else "-") == (name, kind)
    assert parse(text.encode()).level == level


def test_every_default_pattern_has_a_recorded_line() -> None:
    assert {name for name, *_ in recorded()} - {"-"} == {entry["name"] for entry in DEFAULTS}


COLOURED = "2025-11-09 21:30:00: \x1b[32minfo\x1b[39m: "


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(COLOURED + "⚠️ WhatsApp disconnected", id="contains connected"),
        pytest.param(COLOURED + "WhatsApp not connected for company 100001", id="not connected"),
        pytest.param(
            COLOURED + '💬 Processing message from 70000000003: "✅ WhatsApp connected for company 1"',
            id="a customer's words",
        ),
        pytest.param(
            "✅ WhatsApp connected for company 1", id="without a level, as a customer's second line"
        ),
    ],
)
def test_what_is_not_connected(text: str) -> None:
    assert pattern_of(text) != "connected"
    assert pattern_of(COLOURED + "✅ WhatsApp connected for company 1") == "connected"


def test_a_customer_cannot_log_the_session_out() -> None:
    said = '💬 Processing message from 70000000003: "Session logged out for company 1"'
    assert pattern_of(COLOURED + said) == "message_processing"
    # winston prints the newlines of a message as they are.
    assert pattern_of("Session logged out for company 1") == "-"
    assert pattern_of(COLOURED + "Session logged out for company 1") == "logged_out"


@pytest.mark.parametrize(
    "time",
    [
        "",
        "2025-11-09 21:30:00: ",
        "2025-11-09 21:30:00.123 +03:00: ",
        "2025-11-09T21:30:00.123Z: ",
        "09.11.2025 21:30:00: ",
        "21:30:00.123: ",
    ],
)
@pytest.mark.parametrize(
    "line",
    [
        "\x1b[31merror\x1b[39m: Processing error: x",
        "error: Processing error: x",
        '{"level":50,"msg":"Processing error"}',
    ],
)
def test_any_time_or_none_before_the_line(time: str, line: str) -> None:
    assert parse((time + line).encode()).level == "error"
    assert pattern_of(time + line) == "processing_error"


@pytest.mark.parametrize(
    "text",
    [
        'relation "bookings" does not exist',
        "cached plan must not change result type",
        'null value in column "phone" of relation "clients" violates not-null constraint',
        "canceling statement due to lock timeout",
        "Failed to save: Connection terminated unexpectedly",
    ],
)
def test_what_a_migration_can_do_to_the_application(text: str) -> None:
    assert pattern_of(f"error: {text}") == "database_error"
    assert pattern_of(f"info: {text}") != "database_error"


def test_a_peer_that_cannot_be_reached_is_not_said_to_be_the_database() -> None:
    assert pattern_of("error: Failed to save: connect ECONNREFUSED 127.0.0.1:5432") == "network_error"
    assert pattern_of("info: Failed to save: connect ECONNREFUSED 127.0.0.1:5432") != "network_error"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\0\0\0",
        b"\xff\xfe\xfa",
        b"{",
        b"{}",
        b'{"level":{}}',
        b'{"level":true}',
        b'{"level":null,"err":[]}',
        b"[" * 16000,
        b"{" + b'"a":{' * 3000,
        b"2025-11-09 21:30:00: ",
        b"\x1b[31m",
        b"\x1b[31mshout\x1b[39m: x",
        "🙂".encode()[:3],
    ],
)
def test_anything_is_a_line(raw: bytes) -> None:
    assert parse(raw).level == "none"
    assert classify(parse(raw), PATTERNS) is None


def test_a_huge_object_that_was_cut_off_still_has_its_level() -> None:
    assert parse(b'{"level":50,"msg":"' + b"x" * 100).level == "error"
    assert parse(b'{"level":"warn","message":"' + b"x" * 100).level == "warn"


def test_carriage_returns_and_colours_do_not_matter() -> None:
    assert parse(b"error: x\r").message == "x"
    assert parse("error: \x1b[1m✅ \x1b[0mbold".encode()).message == "bold"


# --- the table is data


def test_an_entry_of_the_inventory_is_added_or_replaces_one() -> None:
    refused = {"name": "payment_refused", "kind": "fatal", "regex": "Payment refused", "levels": ["error"]}
    patterns = compile_patterns([refused])
    assert classify(parse(b"error: Payment refused"), patterns).name == "payment_refused"  # type: ignore[union-attr]
    assert classify(parse(b"info: Payment refused"), patterns) is None

    harmless = compile_patterns([{"name": "logged_out", "kind": "noise", "regex": "Session logged out"}])
    assert classify(parse(b"warn: Session logged out"), harmless).kind == "noise"  # type: ignore[union-attr]
    assert classify(parse(b"warn: Session logged out"), PATTERNS).kind == "fatal"  # type: ignore[union-attr]

    assert compile_patterns(defaults=False) == ()


def test_noise_cannot_hide_what_is_fatal() -> None:
    patterns = compile_patterns([{"name": "everything", "kind": "noise", "regex": "."}])
    assert classify(parse(b"warn: Session logged out"), patterns).kind == "fatal"  # type: ignore[union-attr]
    assert classify(parse(b"error: Processing error"), patterns).kind == "noise"  # type: ignore[union-attr]
    assert [KINDS.index(pattern.kind) for pattern in patterns] == sorted(
        KINDS.index(pattern.kind) for pattern in patterns
    )


GOOD = {"name": "a_name", "kind": "sign", "regex": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "A name"}, r"patterns\[0\]: name is 'A name'"),
        ({"name": None}, r"patterns\[0\]: name is None"),
        ({"kind": "bad"}, "pattern a_name: kind is 'bad'"),
        ({"regex": "("}, "pattern a_name: regex is not one: missing"),
        ({"regex": ""}, "pattern a_name: regex is missing"),
        ({"regex": "x*"}, "pattern a_name: regex matches an empty message"),
        ({"levels": ["loud"]}, r"pattern a_name: levels is \['loud'\]"),
        ({"service": "api"}, "pattern a_name: unknown key 'service'"),
    ],
)
def test_an_entry_that_is_no_pattern(change: dict[str, Any], message: str) -> None:
    assert compile_patterns([GOOD])
    with pytest.raises(RolloutError, match=message) as caught:
        compile_patterns([{**GOOD, **change}])
    assert caught.value.hint and caught.value.details["reason"] == "bad_pattern"


# --- what may be copied

KEY = "mKx3Zq7LwPz1VdT9sYb2Rf5uHj8Gc0Na"


@pytest.mark.parametrize(
    ("message", "copied"),
    [
        ("Connection closed for company 100001", "Connection closed for company 100001"),
        ('Bot response to 70000000003 (error): "Sorry, Anna"', 'Bot response to [number] (error): "[text]"'),
        ("Message sent to 70000000003@s.whatsapp.net for", "Message sent to [address] for"),
        ("call +7 (000) 000-00-03 back", "call [number] back"),
        ("write to anna@example.invalid", "write to [address]"),
        ('relation "bookings" does not exist', 'relation "bookings" does not exist'),
        ('Bot response to 70000000003 (error): "Anna"', 'Bot response to [number] (error): "[text]"'),
        ("said 'my card is 1' and left", 'said "[text]" and left'),
        ("said «здравствуйте, это Анна»", 'said "[text]"'),
        ('an open "quote that was cut', 'an open "[text]"'),
        ("postgres://app:pw@db.example.invalid/app", "postgres://[redacted]@db.example.invalid/app"),
        ("GET /hook?key=abc&phone=1", "GET /hook?[redacted]"),
        ("token: abc", "token=[redacted]"),
        ("api_key=abc, next", "api_key=[redacted] next"),
        ("Authorization: Bearer abc", "Authorization=[redacted]"),
        ("got Bearer abcdefghijk", "got Bearer [redacted]"),
        (f"key {KEY} is bad", "key [token] is bad"),
        ("hash 9f86d081884c7d659a2feaa0c55ad015", "hash [token]"),
        (
            "index bookings_company_id_date_2025_idx is missing",
            "index bookings_company_id_date_2025_idx is missing",
        ),
        ('a message {"phone":"70000000003"}', "a message"),
        ("Closing session: SessionEntry {", WITHHELD),
        ("  privKey: <Buffer 08 09>", WITHHELD),
        ('saved {"noiseKey":{"private":{"data":"x"}}}', WITHHELD),
        ("-----BEGIN PRIVATE KEY-----", WITHHELD),
        ("colours \x1b[31mred\x1b[0m and\0zero\tand  blanks", "colours red and zero and blanks"),
        ("x" * 5000, "x" * SAMPLE_LENGTH),
    ],
)
def test_a_sample(message: str, copied: str) -> None:
    assert sample(message) == copied


def test_of_an_object_only_checked_fields_are_copied() -> None:
    assert fields({"statusCode": 428, "disconnectReason": "connectionClosed", "code": "42501"}) == {
        "statusCode": "428",
        "disconnectReason": "connectionClosed",
        "code": "42501",
    }
    assert fields({"user": {"id": "70000000001"}, "error": KEY, "private": KEY}) == {}
    assert fields({"statusCode": "70000000001", "disconnectReason": KEY, "code": KEY.lower()}) == {}
    assert fields({"statusCode": {"a": 1}, "code": None}) == {}


def test_the_object_at_the_end_of_a_line() -> None:
    metadata = {"statusCode": 428, "timestamp": "2025-11-09T18:30:00.000Z"}
    assert trailing_object(parse(f"warn: Connection closed {json.dumps(metadata)}".encode())) == metadata
    assert trailing_object(parse(b'{"level":50,"code":"X"}')) == {"level": 50, "code": "X"}
    for text in ("warn: Connection closed", 'warn: cut off {"a":', "warn: not {json}"):
        assert trailing_object(parse(text.encode())) == {}


def test_no_recorded_line_gives_anything_away() -> None:
    for *_, text in recorded():
        line = parse(text.encode())
        copied = sample(line.message) + json.dumps(fields(trailing_object(line)))
        assert not any(private in copied for private in ("7000000", "Anna", "probe", "Salon")), text
