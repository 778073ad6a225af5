"""Action ``query_audit``: find the calls on the control node, have them proven on the target, write the report here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase

# The modules find module_utils/ through ansible.cfg; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout.audit import run  # noqa: E402
from ansible.module_utils.rollout.audit.chain import to_json  # noqa: E402
from ansible.module_utils.rollout.errors import RolloutError, SourceError  # noqa: E402
from ansible.module_utils.rollout.options import CONNECTION  # noqa: E402

_OWN = {
    "source": str,
    "commit": str,
    "exclude": list,
    "entry_points": list,
    "destination": str,
    "prove": bool,
}
_OF_THE_PROOF = ("schema", "max_rows", "fail_on", *CONNECTION)
_RETURNED = ("counts", "lacks", "round_trips", "seconds")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/query_audit.py."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Find, prove, report."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            _check(arguments)
            found = run.find(
                str(_folder(arguments["source"])),
                str(arguments.get("commit") or ""),
                [str(name) for name in arguments.get("exclude") or []],
                [str(name) for name in arguments.get("entry_points") or []],
            )
        except RolloutError as error:
            result.update(failed=True, msg=str(error), details=error.details)
            return result
        proof: dict[str, Any] | None = None
        if arguments.get("prove", True):
            wanted = {name: arguments[name] for name in _OF_THE_PROOF if name in arguments}
            proof = self._execute_module(
                "query_proof", module_args={**wanted, "chains": to_json(found.chains)}, task_vars=task_vars
            )
            # The calls would be printed with every failure and at -vvv; the report has them.
            proof.get("invocation", {}).get("module_args", {}).pop("chains", None)
        destination = arguments.get("destination")
        folder = _folder(destination) if destination else None
        if self._task.check_mode:
            folder = None
        rows = arguments.get("max_rows")
        result.update(
            run.finish(
                found,
                proof,
                folder,
                str(arguments.get("schema") or "public"),
                1000 if rows is None else int(rows) or None,
            ),
            changed=False,
            commit=found.commit,
        )
        if proof is None:
            result["chains"] = to_json(found.chains)
            return result
        result.update({name: proof[name] for name in _RETURNED if name in proof})
        for name in ("failed", "msg", "details", "unreachable", "exception"):
            if name in proof:
                result[name] = proof[name]
        return result


def _folder(path: object) -> Path:
    """A folder as the operator means it: relative to where ansible-playbook was started, not to the playbook."""
    return Path(str(path)).expanduser().absolute()


def _check(arguments: dict[str, Any]) -> None:
    """The names and types of the options: an action plugin is given whatever the task says.

    :raises SourceError: naming every one that is not right
    """
    wrong = [f"{name} is no option" for name in arguments if name not in _OWN and name not in _OF_THE_PROOF]
    if not arguments.get("source"):
        wrong.append("source is missing")
    for name, kind in _OWN.items():
        value = arguments.get(name)
        if value is not None and not isinstance(value, kind):
            wrong.append(f"{name} must be a {kind.__name__}, and is {value!r}")
    if wrong:
        raise SourceError(
            "query_audit: " + "; ".join(wrong), hint="ansible-doc query_audit lists the options."
        )
