"""Every item of the checklist on the application and its host turns red when exactly that thing is damaged.

The application is the sandbox's, and the plugins and modules are the real ones; only Ansible's way to the target is
left out. test_verify_role.py has the same in real runs.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout.checklist_application import ITEMS
from ansible.module_utils.rollout.success_checklist import OPTIONS
from ansible.plugins.action import ActionBase

from action_plugins import application_gate, success_checklist
from sandbox.application import Application
from sandbox.breakage import break_application
from sandbox.credentials import OWNER
from sandbox.databases import Database
from sandbox.services import BAILEYS, NAMES, TEST_PHONE
from tests.action_tasks import make_action
from tests.checklist_control import Control
from tests.database_checklist import DEMANDS, MESSAGES
from tests.integration.module_run import run
from tests.integration.test_application_gate import BUDGETS, SETTINGS, settle
from tests.integration.test_gate_playbook import remove_rollout
from tests.runner import MIGRATIONS, PROTECTED, Runner
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)

WORKER, TELEGRAM = NAMES[1], "ai-admin-telegram-bot"
PATIENCE_S = 90
#: Looks of a gate that goes on until something is red, however busy the machine is.
ENDLESS = 400
#: Other tests run on the same machine.
BUSY = {"id": "host_cpu", "window": 0.1, "severity": "warning"}
#: What a healthy application and a fresh schema beside it come to.
HEALTHY = {
    "database": "passed",
    **dict.fromkeys(OPTIONS, "passed"),
    "partitions": "warning",  # nothing maintains them yet
    "indexes": "warning",  # eleven are redundant
    "row_counts": "not_tested",  # no rows yet
}


class Site:
    """The checklist on the sandbox's application and the database beside it.

    :ivar after: undoes what a control did
    :ivar gate: options of application_gate that differ
    :ivar message: options of message_probe that differ; None: nobody asks
    :ivar checks: the inventory's say
    :ivar services: that have to be online
    """

    def __init__(
        self, application: Application, folder: Path, capsys: pytest.CaptureFixture[str], after: ExitStack
    ) -> None:
        self.application = application
        self.after = after
        self._capsys = capsys
        self._options = Database(application.server, application.database, folder).options
        self.services = list(NAMES)
        self.gate: dict[str, Any] = {"samples": 2}
        self.message: dict[str, Any] | None = None
        self.checks: list[dict[str, Any]] = [BUSY]
        self.baseline: dict[str, Any] = {}
        self._noted: dict[str, Any] = {}

    def note(self) -> None:
        """Take what is compared with."""
        self.baseline = self.looked(samples=2)
        assert self.baseline["state"] == "green", self.baseline["reasons"]
        self._noted = self.module(
            "pg_checklist_info", {**self._options, "state": "noted", "protected_tables": list(PROTECTED)}
        )["reference"]

    def module(self, module_name: str, module_args: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        """A module's result, as Ansible's way to the target would bring it."""
        given = {name: value for name, value in module_args.items() if value is not None}
        return run(module_name, self._capsys, **given)

    def act(self, plugin: type[ActionBase], arguments: dict[str, Any]) -> dict[str, Any]:
        action = make_action(plugin, arguments)
        action._execute_module = self.module
        found: dict[str, Any] = action.run(task_vars={"inventory_hostname": "app"})
        return found

    def looked(self, **options: Any) -> dict[str, Any]:
        """What a gate sees."""
        look = {
            "pm2_home": str(self.application.pm2.home),
            "services": self.services,
            "patterns": SETTINGS["gate_log_patterns"],
            "whatsapp": {
                "service": BAILEYS,
                "health_url": self.application.health_url,
                "never_port": self.application.variables["app_port"],
            },
            **self._options,
        }
        given = {"label": "x", "look": look, "red_samples": 2, "interval": 0.2, "problem_budgets": BUDGETS}
        return self.act(application_gate.ActionModule, {**given, **options})

    def asked(self) -> dict[str, Any]:
        """What the bot answers, as role gate tells it."""
        if self.message is None:
            return {}
        probe = {
            "phone": TEST_PHONE,
            "test_phone": TEST_PHONE,
            "webhook_url": self.application.webhook_url,
            "pm2_home": str(self.application.pm2.home),
            "timeout": PATIENCE_S,
            **self.message,
        }
        found = self.module("message_probe", probe)
        return {"status": "unreadable", "reason": found["msg"]} if found.get("failed") else found

    def judged(self) -> dict[str, dict[str, Any]]:
        """The whole checklist, by item."""
        gate = self.looked(reference=self.baseline["reference"], **self.gate)
        found = self.act(
            success_checklist.ActionModule,
            {
                "migrations_path": str(MIGRATIONS),
                "database": {
                    **self._options,
                    "demands": DEMANDS,
                    "partitions": [MESSAGES],
                    "protected_tables": list(PROTECTED),
                    "reference": self._noted,
                },
                "gate": gate,
                "message": self.asked(),
                "since": "the baseline",
                "services": self.services,
                "checks": self.checks,
            },
        )
        return {one["id"]: one for one in found["findings"]}


def without_waiting_for_more(site: Site) -> None:
    """The damage shows at once, or never: look until it does."""
    site.gate = {"samples": ENDLESS}


def stop(service: str) -> Callable[[Site], None]:
    def act(site: Site) -> None:
        break_application(site.application, "stop", service)
        without_waiting_for_more(site)

    return act


def restart(site: Site) -> None:
    site.application.pm2.run("restart", TELEGRAM)
    without_waiting_for_more(site)


def hide_pm2(site: Site) -> None:
    socket = site.application.pm2.home / "rpc.sock"
    away = socket.with_name("rpc.away")
    socket.rename(away)
    site.after.callback(away.rename, socket)


def log_out(site: Site) -> None:
    break_application(site.application, "logout")
    without_waiting_for_more(site)


def complain(site: Site) -> None:
    with site.application.log_files(WORKER)[0].open("a") as file:
        file.write('2025-11-09 21:30:00: \x1b[31merror\x1b[39m: relation "bookings" does not exist {}\n')
    without_waiting_for_more(site)


def empty_log(site: Site) -> None:
    """As pm2 flush does."""
    log = site.application.log_files(TELEGRAM)[0]
    until(lambda: log.stat().st_size, "the service logs nothing")
    # Whatever it had logged has been read by now.
    site.baseline = site.looked(samples=2)
    log.write_text("")


def index_the_keys(site: Site) -> None:
    with site.application.server.connect(OWNER, site.application.database) as owner:
        owner.execute("CREATE INDEX one_more ON whatsapp_keys (created_at)")

    def undo() -> None:
        with site.application.server.connect(OWNER, site.application.database) as owner:
            owner.execute("DROP INDEX one_more")

    site.after.callback(undo)
    without_waiting_for_more(site)


def silence(site: Site) -> None:
    """The gate does not look at the worker, so that only the bot tells."""
    site.services.remove(WORKER)
    site.baseline = site.looked(samples=2)
    site.application.pm2.run("stop", WORKER)
    site.message = {"timeout": 3}


def refuse_webhooks(site: Site) -> None:
    site.message = {"webhook_url": "http://127.0.0.1:1/webhook/whatsapp/batched"}


def load_the_cpus(site: Site) -> None:
    for _ in range(len(os.sched_getaffinity(0))):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        site.after.callback(busy.wait)
        site.after.callback(busy.kill)
    site.checks = [{"id": "host_cpu", "window": 0.3}]


CONTROLS = [
    Control("services", "a service is stopped", act=stop(TELEGRAM), observed=f"{TELEGRAM}: id "),
    Control(
        "services",
        "a service is restarted",
        act=restart,
        observed=f"{TELEGRAM}: is not the process that it was",
    ),
    Control(
        "services",
        "PM2 cannot be asked",
        act=hide_pm2,
        observed="No PM2 daemon at",
        also=("memory", "new_errors", "whatsapp"),
    ),
    Control(
        "whatsapp",
        "the phone removes the linked client",
        act=log_out,
        observed="the session was logged out (401)",
        also=("new_errors",),
    ),
    Control(
        "new_errors",
        "a service logs that a table does not exist",
        act=complain,
        observed=f"{WORKER}: 1 new line of database_error",
    ),
    Control(
        "new_errors",
        "a service's log is emptied",
        act=empty_log,
        observed=f"of {TELEGRAM} a part was removed unread",
        status="warning",
    ),
    Control(
        "whatsapp_untouched",
        "an index is made on the keys of the WhatsApp session",
        act=index_the_keys,
        observed="WhatsApp session: the tables of the session store have another shape",
        also=("unchanged_neighbours",),
    ),
    Control("test_message", "the bot's worker is stopped", act=silence, observed="processing"),
    Control(
        "test_message",
        "nothing listens where messages come in",
        act=refuse_webhooks,
        observed="the bot could not be asked: ",
    ),
    Control("host_cpu", "every CPU is kept busy", act=load_the_cpus, observed=" s each, load "),
    Control(
        "memory",
        "the services take more than they may",
        given={"checks": [BUSY, {"id": "memory", "services_mb": 10}]},
        observed="the services have ",
    ),
    Control(
        "memory",
        "the host has less left than is asked for",
        given={"checks": [BUSY, {"id": "memory", "available_mb": 10**9}]},
        observed=" MB are available",
    ),
]


@pytest.fixture(scope="module")
def beside_a_schema(
    running_application: Application, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The application's database has what the migrations make."""
    folder = tmp_path_factory.mktemp("schema")
    remove_rollout(running_application)
    Runner(Database(running_application.server, running_application.database, folder).options).apply()
    yield
    remove_rollout(running_application)


@pytest.fixture
def site(
    beside_a_schema: None, application: Application, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Site]:
    settle(application)
    with ExitStack() as after:
        prepared = Site(application, tmp_path, capsys, after)
        prepared.note()
        yield prepared


def test_a_healthy_application(site: Site) -> None:
    site.message = {}
    found = site.judged()
    assert list(found) == ["database", *OPTIONS]
    different = {item: one for item, one in found.items() if one["status"] != HEALTHY[item]}
    assert set(different) <= {"host_cpu"}, different
    assert found["services"]["observed"].startswith(f"{len(NAMES)} of {len(NAMES)} online in 2 looks within ")
    assert found["whatsapp_untouched"]["observed"].startswith("untouched in 2 looks")
    assert found["new_errors"]["observed"] == f"none in the logs of {len(NAMES)} services"


@pytest.mark.parametrize("control", CONTROLS, ids=str)
def test_what_is_damaged_turns_red(site: Site, control: Control) -> None:
    for name, value in control.given.items():
        setattr(site, name, value)
    if control.act:
        control.act(site)
    found = site.judged()
    seen = found[control.item]
    assert control.observed in seen["observed"], seen
    assert seen["status"] == control.status
    assert seen["hint"]
    red = {item for item, one in found.items() if one["status"] == "failed"} - {control.item}
    assert red == set(control.also), [found[item] for item in red]
    # None of the others was left out, and none of them minds.
    rest = set(found) - {control.item, *control.also, "test_message", "host_cpu"}
    assert {item: found[item]["status"] for item in rest} == {item: HEALTHY[item] for item in rest}


def test_every_item_has_a_control() -> None:
    assert {control.item for control in CONTROLS} == {item.id for item in ITEMS}
