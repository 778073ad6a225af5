"""Precheck, the application: judgement on what pm2_info and baileys_info returned. Pure."""

from __future__ import annotations

from ansible.module_utils.rollout.findings import Verdict, failed, passed
from ansible.module_utils.rollout.precheck_demands import Demands, Known

UNHEALTHY_REMEDY = (
    "Heal the application first: a rollout that begins on an ill one cannot tell what it did itself."
)


def services(known: Known, demands: Demands) -> Verdict:
    """PM2 shows every service as online, and none restarted while it was watched."""
    answer = known.application["services"]
    expected = f"online: {', '.join(demands.services)}"
    if answer.get("failed"):
        return failed(
            expected, f"PM2 cannot be asked: {answer['msg']}", "Look at pm2_home, and at whose PM2 it is."
        )
    if not answer["healthy"]:
        seen = [f"{one['service']}: {one['text']}" for one in answer["problems"]]
        seen += [f"{one['service']}: {one['text']}" for one in answer["changes"] if not one["expected"]]
        seen += [f"{name} is in {', '.join(homes)}" for name, homes in answer["elsewhere"].items() if homes]
        return failed(
            expected,
            "; ".join(seen) or "PM2 names no service",
            UNHEALTHY_REMEDY,
            problems=answer["problems"],
            changes=answer["changes"],
        )
    return passed(expected, f"all of them, in {answer['daemon']['home']}", daemon=answer["daemon"])


def whatsapp(known: Known, demands: Demands) -> Verdict:
    """The WhatsApp client is connected."""
    answer = known.application["whatsapp"]
    expected = "the WhatsApp client is connected"
    if answer.get("failed"):
        return failed(
            expected, f"it cannot be asked: {answer['msg']}", "Look at baileys_health_url and pm2_home."
        )
    evidence = {"verdict": answer["verdict"], "store": answer["store"]}
    if answer["verdict"] != "connected":
        wait = "" if answer["terminal"] else " It may be back within a minute: ask again."
        return failed(
            expected, f"{answer['verdict']}: {answer['reason']}", UNHEALTHY_REMEDY + wait, **evidence
        )
    return passed(expected, answer["reason"], **evidence)
