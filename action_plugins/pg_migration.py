"""Action ``pg_migration``: read, render and check the migrations on the control node, then run the module.

A missing or hostile variable, a template that does not render or SQL that does not parse fails here, before any
connection to the database is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ansible.module_utils
from ansible.plugins.action import ActionBase

# The module finds module_utils/ through ansible.cfg; on the control node nothing adds it to the import path.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

from ansible.module_utils.rollout.errors import RolloutError, SourceError  # noqa: E402
from ansible.module_utils.rollout.migration import dump  # noqa: E402
from ansible.module_utils.rollout.source import load_migrations  # noqa: E402
from ansible.module_utils.rollout.variables import check_identifier  # noqa: E402


class ActionModule(ActionBase):  # type: ignore[misc]
    """Entry point for Ansible; the arguments are documented in library/pg_migration.py."""

    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Prepare on the control node, then execute the module on the target host."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        try:
            _check_names(arguments)
            migrations = load_migrations(self._folder(arguments), arguments.get("variables") or {})
            _check_id(arguments, [migration.id for migration in migrations])
        except RolloutError as error:
            result.update(failed=True, msg=str(error), details=error.details)
            return result
        arguments["migrations"] = dump(migrations)
        result.update(self._execute_module("pg_migration", module_args=arguments, task_vars=task_vars))
        # The rendered text would be printed with every failure and at -vvv; the run record has it.
        result.get("invocation", {}).get("module_args", {}).pop("migrations", None)
        result.get("invocation", {}).get("module_args", {}).pop("rehearsal", None)
        wanted = str(arguments.get("id"))
        schema = str(arguments.get("schema") or "public")
        result["sql"] = "".join(migration.sql(schema) for migration in migrations if migration.id == wanted)
        return result

    def _folder(self, arguments: dict[str, Any]) -> Path:
        if not arguments.get("path"):
            raise SourceError(
                "pg_migration: path is missing", hint="It names the folder that holds the migrations."
            )
        return Path(self._loader.path_dwim(str(arguments["path"])))


def _check_names(arguments: dict[str, Any]) -> None:
    """Names that end up in SQL outside the templates.

    :raises SourceError: naming every one that is not acceptable
    """
    wrong = []
    defaults = {"schema": "public", "ledger": "rollout", "owner_role": ""}
    given = {
        option: default if arguments.get(option) is None else arguments[option]
        for option, default in defaults.items()
    }
    for option, value in given.items():
        if option == "owner_role" and value == "":
            continue  # the login role
        try:
            check_identifier(value)
        except ValueError as error:
            wrong.append(f"{option}: {value!r} {error}")
    if not wrong and given["ledger"] == given["schema"]:
        wrong.append("ledger: must be another schema than the one that the migrations work in")
    if wrong:
        raise SourceError(
            "these names are not usable:\n  " + "\n  ".join(wrong),
            hint="The inventory sets them in group_vars/all/schema.yml: schema_name, schema_ledger, schema_owner_role.",
        )


def _check_id(arguments: dict[str, Any], known: list[str]) -> None:
    wanted = arguments.get("id")
    if arguments.get("state", "present") in ("present", "absent") and str(wanted) not in known:
        raise SourceError(
            f"there is no migration {wanted!r}", hint=f"Known are: {', '.join(known)}. Quote the number."
        )
