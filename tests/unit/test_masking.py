"""What a record does not show, and what it must not take for a number or a secret."""

import pytest
from ansible.module_utils.rollout.masking import masked, masked_numbers
from ansible.module_utils.rollout.record import pruned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sent to 12025550199", "sent to *********99"),
        ("+1 (202) 555-01-99 wrote", "*********99 wrote"),
        ("+12025550199", "*********99"),
        ("8 900 555-01-99", "*********99"),
        ("Key (phone)=(12025550199) already exists", "Key (phone)=(*********99) already exists"),
        ("12025550199@s.whatsapp.net", "*********99@s.whatsapp.net"),
        ("12025550199:7@s.whatsapp.net", "*********99:7@s.whatsapp.net"),
        ("Привет от 12025550199!", "Привет от *********99!"),
        ("phone:79001234567", "phone:*********67"),
        ("GET /clients/79001234567", "GET /clients/*********67"),
        ("GET /clients/89001234567/bookings", "GET /clients/*********67/bookings"),
        ("chat_79001234567", "chat_*********67"),
        ("79001234567: no answer", "*********67: no answer"),
        ('{"password": "abc", "a": 1}', '{"password": [redacted], "a": 1}'),
        ("{'password': 'x y'}", "{'password': [redacted]}"),
        (r"{\"token\": \"x y\"}", r"{\"token\": [redacted]}"),
        ("postgres://u:pa@ss@host/db me@x", "postgres://u:[redacted]@host/db me@x"),
        ("postgresql://me:hunter2@db.invalid/x", "postgresql://me:[redacted]@db.invalid/x"),
        ("password=hunter2 host=x", "password=[redacted] host=x"),
        ("PGPASSWORD='hunter 2' psql", "PGPASSWORD=[redacted] psql"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted]"),
    ],
)
def test_numbers_and_secrets_are_masked(text: str, expected: str) -> None:
    assert masked(text) == expected
    assert masked(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T21:51:51.019049+00:00",
        "20261122T215134Z-167e",
        "1795384307.733",
        "1073741824 bytes",
        "system 7711112801653393751",
        "0bc17066674a652658af432a6c8e9629636e1ef4c4151aa739747574ff733624",
        "127.0.0.1:54321 and 192.0.2.100/24",
        "/var/backups/20261122215152/database.dump",
        "at 1795384307.733 of 1795384308, xid 4294967295, 0/7F3A2B10",
        "run 20261122T215134Z-167e of /srv/20261122215152_x and id_7900123456",
        "sha256:79001234567a, v1.79001234567",
        "a token of nothing; the password is asked",
    ],
)
def test_what_is_no_number_stays(text: str) -> None:
    assert masked(text) == text


def test_a_record_is_masked_but_for_sql() -> None:
    sql = "SELECT 12025550199"
    recorded = pruned({"msg": "to 12025550199", "statements": [{"sql": sql}], "by": {"12025550199": 1}})
    assert recorded == {"msg": "to *********99", "statements": [{"sql": sql}], "by": {"*********99": 1}}


@pytest.mark.parametrize("number", [79001234567, 4294967295, 1795384307, 1795384307.733, -79001234567])
def test_a_number_that_was_measured_stays(number: float) -> None:
    figures = {"database": {"size": number}, "samples": [number]}
    assert pruned(figures) == figures


def test_in_rows_of_unknown_content_long_numbers_are_masked() -> None:
    rows = [[79001234567, 9001234567, 79001234567.0], [{"phone": 79001234567}, [12025550199]]]
    assert masked_numbers(rows) == [
        ["*********67", "********67", "*********67"],
        [{"phone": "*********67"}, ["*********99"]],
    ]
    kept = [[1299, 999_999_999, 10**15, 0.5, float("nan"), float("inf"), True, None, "text"]]
    assert str(masked_numbers(kept)) == str(kept)
