"""Module pg_checklist_info, run as Ansible runs it on a target."""

import json
from typing import Any

import pytest

from sandbox.databases import Database
from tests.database_checklist import DEMANDS, MESSAGES, shipped_samples
from tests.integration.module_run import documented, run


def connection(database: Database) -> dict[str, Any]:
    return {"service": database.service, "service_file": str(database.service_file)}


def test_it_notes_and_then_checks(finished: Database, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**connection(finished), "protected_tables": ["whatsapp_auth", "whatsapp_keys"]}
    before = run("pg_checklist_info", capsys, **given, state="noted")
    assert set(before) >= documented("pg_checklist_info")
    assert before["findings"] == [] and before["catalog"] == {}
    assert not before["changed"]
    # As it travels from one task to the next.
    reference = json.loads(json.dumps(before["reference"]))
    found = run(
        "pg_checklist_info",
        capsys,
        **given,
        reference=reference,
        samples=shipped_samples(),
        partitions=[{**MESSAGES, "archive_dir": "", "drop_archived": False}],
        demands=DEMANDS,
    )
    assert set(found) - {"invocation", "changed"} == documented("pg_checklist_info")
    assert {one["status"] for one in found["findings"]} == {"passed", "warning", "not_tested"}
    assert set(found["catalog"]) == {"fingerprint", "counts", "recorded", "differences", "drift"}
    assert found["catalog"]["recorded"] == ["0001_business_tables", "0002_messages"]
    assert found["locks"]["clients"] == "ROW EXCLUSIVE"
    assert finished.options["password"] not in json.dumps(found)


def test_a_dry_run(finished: Database, capsys: pytest.CaptureFixture[str]) -> None:
    found = run("pg_checklist_info", capsys, check=True, **connection(finished), samples=shipped_samples())
    (story,) = [one for one in found["findings"] if one["id"] == "sample_story"]
    assert (story["status"], story["observed"]) == ("not_tested", "a dry run writes nothing")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"items": {"tabels": {}}}, "there is no item tabels"),
        ({"schema": "nowhere"}, "there is no schema nowhere"),
        ({"ledger": "public"}, "is not a ledger"),
        ({"demands": {"tabels": []}}, "Unsupported parameters"),
    ],
)
def test_what_cannot_be_done_fails_in_words(
    finished: Database, capsys: pytest.CaptureFixture[str], given: dict[str, Any], told: str
) -> None:
    assert told in run("pg_checklist_info", capsys, **connection(finished), **given)["msg"]
