"""The precheck's items on the application, on a real PM2 daemon and on an endpoint that answers like the client's."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.rollout import precheck, precheck_host_reading
from ansible.module_utils.rollout.findings import Finding
from ansible.module_utils.rollout.precheck_demands import Demands, FlagDemand, Known

from tests.integration.module_run import run
from tests.pm2_daemons import SCRIPTS, Pm2Daemon, wait_until

ITEMS = {"services", "whatsapp", "flags"}


@pytest.fixture(scope="module")
def pm2() -> Iterator[Pm2Daemon]:
    """A daemon with one service, which was started with a variable of its own."""
    with Pm2Daemon() as daemon:
        daemon.start(
            {
                "name": "api",
                "script": str(SCRIPTS / "ticking.js"),
                "env": {"USE_LEGACY_SUPABASE": "true", "SECRET": "hunter2"},
            }
        )
        yield daemon


class Endpoint(http.server.BaseHTTPRequestHandler):
    """Answers as the WhatsApp client's health endpoint does while it is connected."""

    def do_GET(self) -> None:
        body = json.dumps({"status": "connected", "connected": True, "companyId": "100001"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def health_url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/health"
        server.shutdown()
        thread.join()


def judged(host: dict[str, Any] | None = None, flag: str = "", **application: Any) -> dict[str, Finding]:
    demands = Demands(services=["api"], flags=[FlagDemand("USE_LEGACY_SUPABASE", flag)])
    known = Known(application=application, host=host or {})
    found = precheck.judge(known, demands, {}, {})
    return {one.id: one for one in found if one.id in ITEMS}


def test_services_that_are_online_are_green_and_one_that_is_missing_is_red(
    pm2: Pm2Daemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(*services: str) -> Finding:
        answer = run("pm2_info", capsys, home=str(pm2.home), services=list(services), window=0.1)
        return judged(services=answer)["services"]

    wait_until(lambda: asked("api").status == "passed", "the service is online")
    red = asked("api", "worker")
    assert red.status == "failed"
    assert "worker: PM2 knows no service of this name" in red.observed


def test_a_pm2_that_cannot_be_asked_is_red(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    red = judged(services=run("pm2_info", capsys, home=str(tmp_path / "nowhere")))["services"]
    assert red.status == "failed"
    assert "PM2 cannot be asked" in red.observed


def test_a_connected_client_is_green_and_a_silent_one_red(
    health_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked(url: str) -> Finding:
        answer = run("baileys_info", capsys, health_url=url, never_port=2, count=2, interval=0.1)
        return judged(whatsapp=answer)["whatsapp"]

    assert asked(health_url).status == "passed"
    red = asked("http://127.0.0.1:1/health")
    assert red.status == "failed"
    assert red.observed.startswith("unknown: ")
    refused = asked("http://127.0.0.1:2/health")
    assert refused.status == "failed"
    assert "it cannot be asked" in refused.observed


@pytest.mark.parametrize(("expected", "status"), [("true", "passed"), ("false", "failed")])
def test_a_running_process_says_what_it_was_started_with(pm2: Pm2Daemon, expected: str, status: str) -> None:
    flag = precheck_host_reading.Flag("USE_LEGACY_SUPABASE", service="api")
    facts = precheck_host_reading.flag_values(flag, str(pm2.home))
    found = judged({"flags": [facts]}, expected)["flags"]
    assert found.status == status, found
    assert "true when process" in found.observed
    assert "hunter2" not in str(found)


def test_a_service_that_does_not_run_leaves_its_flag_untested(pm2: Pm2Daemon) -> None:
    flag = precheck_host_reading.Flag("USE_LEGACY_SUPABASE", service="worker")
    facts = precheck_host_reading.flag_values(flag, str(pm2.home))
    found = judged({"flags": [facts]}, "true")["flags"]
    assert found.status == "not_tested"
    assert "PM2 runs no process of worker" in found.observed
    facts = precheck_host_reading.flag_values(flag, "")
    assert judged({"flags": [facts]}, "true")["flags"].status == "not_tested", "and never dropped"


def test_the_modules_return_what_they_say(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    host = run("host_precheck_info", capsys, check=True, disk_paths=[str(tmp_path)], client_tools=["nothing"])
    assert host["changed"] is False
    assert host["facts"]["disks"][0]["free_bytes"] > 0
    assert "there is no nothing in PATH" in host["facts"]["client_tools"][0]["error"]
    database = run(
        "pg_precheck_info", capsys, host="127.0.0.1", port=1, user="x", dbname="x", sslmode="disable"
    )
    assert (database["facts"]["reached"], database["facts"]["reason"]) == (False, "refused")
