"""message_probe on the real application of the sandbox: answered, broken in several ways, and never another number.

What was sent is told by the stand-in for WhatsApp: the messages that reached each phone.
"""

import json
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from ansible.module_utils.rollout.log_patterns import parse
from ansible.module_utils.rollout.probe_chain import DEFAULT_CHAIN, DEFAULT_INSTEAD, judge, make_chain

from sandbox.application import Application
from sandbox.breakage import break_application, mend
from sandbox.services import BAILEYS, SALON_PHONE, TEST_PHONE

# One of its own: logs that were rotated would be read as such.
from tests.application_fixture import mended_application, running_application  # noqa: F401
from tests.integration.command_runs import spellings
from tests.integration.module_run import documented, run
from tests.integration.playbook_run import Project, Run
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

BOOKKEEPING = {"changed", "invocation"}
WORKER = "ai-admin-worker-v2"
#: From the range that is set aside for fiction, like the test phone.
SECOND_PHONE = "12025550198"
#: A reply takes about 2 s; on a busy machine the more.
PATIENCE_S = 90
#: Long enough for a step to be looked for, where none can come.
IN_VAIN_S = 2


class Probe:
    """Probes an application as the module does on a target.

    :ivar arguments: of a probe that may succeed
    """

    def __init__(self, application: Application, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.application = application
        self.arguments: dict[str, Any] = {
            "phone": TEST_PHONE,
            "test_phone": TEST_PHONE,
            "webhook_url": application.webhook_url,
            "pm2_home": str(application.pm2.home),
            "timeout": PATIENCE_S,
        }

    def __call__(self, check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {**self.arguments, **arguments}
        given = {name: value for name, value in given.items() if value is not None}
        return run("message_probe", self._capsys, check=check, **given)

    def received(self, phone: str = TEST_PHONE) -> list[str]:
        """What reached a phone: texts, and reactions as they are."""
        return [
            message["text"] or str(message["reaction"])
            for message in self.application.outside.messages(phone)
        ]

    def asked(self) -> int:
        """How many messages came in at the API's webhook; asks with an empty one, which does not count.

        The API logs one after the other: when it has logged ours, it has logged whatever came before.
        """
        marker = f"marker-{uuid.uuid4()}"
        with pytest.raises(HTTPError):
            self.application.send(self.application.webhook_url, {"messageId": marker})
        out, _ = self.application.log_files("ai-admin-api")
        until(lambda: marker in out.read_text(errors="replace"), "the API logs nothing", PATIENCE_S)
        lines = out.read_text(errors="replace").splitlines()
        return sum("Webhook received request" in line and "marker-" not in line for line in lines)

    def traffic(self) -> tuple[int, int, int]:
        """All that a probe could have moved."""
        return self.asked(), len(self.received()), len(self.received(SECOND_PHONE))


@pytest.fixture
def probe(application: Application, capsys: pytest.CaptureFixture[str]) -> Probe:
    return Probe(application, capsys)


# --- answered --------------------------------------------------------------------------------------------------------


def test_the_bot_answers(probe: Probe) -> None:
    """The control of everything below."""
    asked, before, _ = probe.traffic()
    found = probe(phone=f"+{TEST_PHONE}")
    assert (found["status"], found["missing"], found["continuity"]) == ("passed", "", "proven"), found
    assert found["changed"] is False
    assert [step["name"] for step in found["steps"] if step["seen"]] == [
        "processing",
        "sending",
        "accepted",
        "sent",
    ]
    assert all(found["asked_at"] <= step["at"] <= step["seen_at"] for step in found["steps"])
    assert set(found) - BOOKKEEPING == documented("message_probe") - {"details"}
    (reply,) = probe.received()[before:]
    assert found["nonce"] in reply
    assert probe.asked() == asked + 1


def test_no_result_shows_the_number_or_a_secret(probe: Probe) -> None:
    for found in (probe(), probe(phone=SECOND_PHONE), probe(webhook_url="http://127.0.0.1:1/webhook")):
        secrets = [*probe.application.secrets.values(), TEST_PHONE, SECOND_PHONE, SALON_PHONE]
        assert not [one for secret in secrets for one in spellings(secret) if one in json.dumps(found)]


@pytest.mark.parametrize("how", ["copytruncate", "rename"])
def test_a_rotation_hides_no_reply(probe: Probe, how: str) -> None:
    break_application(probe.application, "rotate-logs", how)
    assert probe()["status"] == "passed"


# --- red -------------------------------------------------------------------------------------------------------------


def test_a_stopped_worker_answers_nothing(probe: Probe) -> None:
    break_application(probe.application, "stop", WORKER)
    before = len(probe.received())
    found = probe(timeout=IN_VAIN_S)
    assert (found["status"], found["missing"], found["details"]) == (
        "failed",
        "processing",
        {"reason": "no_reply"},
    )
    assert "step processing of ai-admin-worker-v2 is missing; no step was seen at all" in found["reason"]
    assert len(probe.received()) == before
    # The message waits in the queue: its late answer is not for the next test to see.
    mend(probe.application)
    until(
        lambda: any(found["nonce"] in text for text in probe.received()),
        "the late answer does not come",
        PATIENCE_S,
    )


@pytest.mark.parametrize("broken", ["logout", "dead-database"])
def test_an_error_reply_is_no_reply(probe: Probe, broken: str) -> None:
    break_application(probe.application, broken)
    if broken == "logout":
        until(lambda: not probe.application.health()["connected"], "the client stays logged in", PATIENCE_S)
    before = len(probe.received())
    found = probe()
    assert (found["status"], found["details"]) == ("failed", {"reason": "error_reply"}), found
    assert found["steps"][0]["seen"]
    assert "error_reply instead" in found["reason"]
    assert len(probe.received()) == before
    # What would be the last line of a job that went well comes here, too.
    out, _ = probe.application.log_files(WORKER)
    until(lambda: "completed" in out.read_text().splitlines()[-1], "the job does not end", PATIENCE_S)


def test_a_reaction_is_no_reply(probe: Probe) -> None:
    """Thanks are answered with a reaction, for which the client logs the chain's last line, too."""
    thanks = "спасибо"
    before = len(probe.received())
    begin = {name: probe.application.log_files(name)[0].stat().st_size for name in (WORKER, BAILEYS)}
    message = {"from": TEST_PHONE, "message": thanks, "messageId": "1", "timestamp": "2025-11-09T10:00:00Z"}
    probe.application.send(probe.arguments["webhook_url"], message)
    worker = probe.application.log_files(WORKER)[0]
    until(lambda: "completed" in worker.read_bytes()[begin[WORKER] :].decode(), "no job is done", PATIENCE_S)
    chain = make_chain(DEFAULT_CHAIN, DEFAULT_INSTEAD, TEST_PHONE, thanks)
    seen = []
    for service, offset in begin.items():
        path = probe.application.log_files(service)[0]
        for number, line in enumerate(path.read_bytes()[offset:].splitlines()):
            seen += chain.sightings([service], str(path), number, parse(line), 0.0)
    found = judge(chain, seen)
    assert found.missing == "sending"
    assert {"reaction", "job_completed"} == {one.name for one in found.instead}
    assert "sent" in {one.name for one in seen}
    assert probe.received()[before:] == ["❤️"]


# --- not asked -------------------------------------------------------------------------------------------------------


def test_check_mode_sends_nothing(probe: Probe) -> None:
    before = probe.traffic()
    found = probe(check=True)
    assert (found["status"], found["details"]) == ("not_tested", {"reason": "check_mode"})
    assert "check mode" in found["reason"]
    # It judges all the same.
    assert probe(check=True, phone=SECOND_PHONE)["details"]["reason"] == "second_number"
    assert probe(check=True, text="no nonce")["details"]["reason"] == "bad_text"
    assert probe.traffic() == before


def test_without_a_test_phone_nothing_is_tested_and_nothing_sent(probe: Probe) -> None:
    before = probe.traffic()
    found = probe(phone="", test_phone="")
    assert (found["status"], found["details"]) == ("not_tested", {"reason": "no_test_phone"})
    assert probe.traffic() == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"phone": SECOND_PHONE}, "second_number"),
        ({"test_phone": SECOND_PHONE}, "second_number"),
        ({"test_phone": ""}, "second_number"),
        ({"phone": ""}, "bad_phone"),
        ({"phone": f"{TEST_PHONE},{SECOND_PHONE}"}, "bad_phone"),
        ({"text": f"{{nonce}} {SECOND_PHONE}"}, "bad_text"),
        ({"fields": {"phone": "message", "text": "message"}}, "bad_fields"),
        ({"webhook_url": "http://example.invalid:3000/webhook"}, "bad_url"),
        ({"webhook_url": "http://127.0.0.1:3000/health"}, "forbidden_path"),
        ({"chain": []}, "bad_chain"),
        ({"timeout": 0}, "bad_argument"),
        ({"pm2_home": "/nowhere"}, "no_home"),
        ({"pm2_home": None, "logs": {WORKER: ["/nowhere/out.log"]}}, "no_log"),
    ],
)
def test_what_is_refused_is_not_sent(probe: Probe, arguments: dict[str, Any], reason: str) -> None:
    before = probe.traffic()
    found = probe(**arguments)
    assert (found["failed"], found["details"]["reason"]) == (True, reason)
    assert "status" not in found
    assert probe.traffic() == before


def test_an_api_that_cannot_be_asked_is_no_verdict(probe: Probe) -> None:
    missing = probe(webhook_url=probe.arguments["webhook_url"] + "/nowhere")
    assert (missing["failed"], missing["details"]["reason"]) == (True, "http_status")
    assert missing["details"]["status"] == 404
    break_application(probe.application, "stop", "ai-admin-api")
    stopped = probe()
    assert (stopped["failed"], stopped["details"]["reason"]) == (True, "unreachable")
    assert "says nothing about replies" in stopped["msg"]


# --- as a task: the number is the inventory's ------------------------------------------------------------------------

PLAYBOOK = """
- name: Probe
  hosts: application
  gather_facts: false
  tasks:
    - name: Let the test phone write
      message_probe:
        phone: "{{ probe_phone | default(test_phone) }}"
        test_phone: "{{ test_phone }}"
        webhook_url: "{{ api_webhook_url }}"
        pm2_home: "{{ pm2_home }}"
      register: probe
    - name: Say what came of it
      ansible.builtin.debug:
        msg: "came of it: {{ probe.status }} {{ probe.phone }}"
"""


@pytest.fixture
def project(tmp_path: Path, application: Application) -> Project:
    """A copy of the repository whose inventory names the running application, its test phone by another variable."""
    project = Project(tmp_path / "project")
    project.write("probe.yml", PLAYBOOK)
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    project.write(
        "inventory/app/hosts.yml", yaml.safe_dump({"application": {"hosts": {"application_host": host}}})
    )
    variables = {
        **application.variables,
        "vault_test_phone": f"+{TEST_PHONE}",
        "test_phone": "{{ vault_test_phone }}",
    }
    project.write("inventory/app/group_vars/all/application.yml", yaml.safe_dump(variables))
    return project


def play(project: Project, *arguments: str) -> Run:
    return project.playbook("probe.yml", "-i", "inventory/app", "-vvv", *arguments)


def test_a_task_probes_the_inventorys_number(project: Project, probe: Probe) -> None:
    """The control of the refusals below; also where -e repeats the configured number."""
    before = probe.received()
    done = play(project, "-e", f"test_phone={TEST_PHONE}")
    assert done.code == 0, done.output
    assert "came of it: passed *********99" in done.output
    assert len(probe.received()) == len(before) + 1
    assert TEST_PHONE not in done.output


@pytest.mark.parametrize(
    "extra",
    [
        f"test_phone={SECOND_PHONE}",
        f"probe_phone={SECOND_PHONE}",
        f"test_phone={SECOND_PHONE} probe_phone={SECOND_PHONE}",
        f"test_phone={SECOND_PHONE} probe_phone={TEST_PHONE}",
        f"vault_test_phone={SECOND_PHONE}",
        json.dumps({"test_phone": int(SECOND_PHONE)}),
        "@second.yml",
    ],
)
def test_a_second_number_by_e_is_refused(project: Project, probe: Probe, extra: str) -> None:
    project.write("second.yml", f"vault_test_phone: '{SECOND_PHONE}'\n")
    before = probe.traffic()
    done = play(project, "-e", extra)
    assert done.code != 0
    assert "is *********98, but the configured test phone is *********99; nothing was sent" in done.output
    assert "came of it" not in done.output
    assert SECOND_PHONE not in done.output
    assert TEST_PHONE not in done.output
    assert probe.traffic() == before


def test_a_second_number_of_the_playbook_is_refused(project: Project, probe: Probe) -> None:
    before = probe.traffic()
    set_fact = f"""
    - name: Choose another number
      ansible.builtin.set_fact:
        test_phone: "{SECOND_PHONE}"
"""
    project.write("probe.yml", PLAYBOOK.replace("  tasks:\n", f"  tasks:{set_fact}", 1))
    done = play(project)
    assert done.code != 0
    assert "is *********98, but the configured test phone is *********99" in done.output
    assert probe.traffic() == before


def test_an_inventory_without_a_test_phone_tests_nothing(project: Project, probe: Probe) -> None:
    """Nor does a number by -e make one."""
    before = probe.traffic()
    project.write("inventory/app/group_vars/application/none.yml", "test_phone: ''\n")
    done = play(project)
    given = play(project, "-e", f"test_phone={TEST_PHONE}")
    assert done.code == 0, done.output
    assert "came of it: not_tested" in done.output
    assert given.code != 0
    assert "no test phone is configured" in given.output
    assert probe.traffic() == before


def test_check_mode_of_a_play_sends_nothing(project: Project, probe: Probe) -> None:
    before = probe.traffic()
    done = play(project, "--check")
    assert done.code == 0, done.output
    assert "came of it: not_tested *********99" in done.output
    assert probe.traffic() == before


def test_the_sandboxs_inventory_names_its_number_by_a_file(project: Project, probe: Probe) -> None:
    """Its test_phone is a template over a host's variable, a lookup and the inventory's own folder."""
    before = probe.traffic()
    project.write("sandbox/run/application.json", json.dumps(probe.application.variables))
    done = project.playbook("probe.yml", "-i", "inventory/sandbox", "--check")
    assert done.code == 0, done.output
    assert "came of it: not_tested *********99" in done.output
    project.write("other.json", json.dumps({**probe.application.variables, "test_phone": SECOND_PHONE}))
    other = f"sandbox_application_file={project.folder}/other.json"
    refused = project.playbook("probe.yml", "-i", "inventory/sandbox", "-e", other)
    assert refused.code != 0
    assert "is *********98, but the configured test phone is *********99" in refused.output
    assert probe.traffic() == before
