"""What the schedule runs: keep the partitions of the tables in maintain.json ahead of time.

``python -I maintain.py maintain.json``. One line of JSON a table on standard output. Exit code 0: all is well; 1:
somebody has to look; 75 (EX_TEMPFAIL): the database was not reached or another runner was at work, try again.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

LOGIC = "ansible.module_utils.rollout"
RED, TRY_AGAIN = 1, 75
_DEFAULTS: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "rollout-maintain",
    "schema": "public",
    "state": "maintained",
    "confirmed": False,
    "unit": "month",
    "zone": "UTC",
    "first": "",
    "ahead": 3,
    "alarm": 1,
    "retention": 0,
    "archive_dir": "",
    "drop_archived": False,
    "batch_rows": 10_000,
}


class LogicFile(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the logic under the name that it has in Ansible from one file, whether or not Ansible is there.

    :param sources: a module's name -> its text
    """

    def __init__(self, sources: Mapping[str, str]) -> None:
        parents = dict.fromkeys(("ansible", "ansible.module_utils", LOGIC), "")
        self.sources = {**parents, **{f"{LOGIC}.{name}": text for name, text in sources.items()}}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.sources:
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=self.is_package(fullname))

    def is_package(self, fullname: str) -> bool:
        return fullname == LOGIC or LOGIC.startswith(f"{fullname}.")

    def get_source(self, fullname: str) -> str:
        return self.sources[fullname]


def main(file: str) -> int:
    """Maintain every table, also after one that failed; returns the worst exit code."""
    configuration = json.loads(Path(file).read_text(encoding="utf-8"))
    sources = json.loads(Path(file).with_name("logic.json").read_text(encoding="utf-8"))
    sys.meta_path.insert(0, LogicFile(sources))
    errors, options, partitions = (
        importlib.import_module(f"{LOGIC}.{name}") for name in ("errors", "options", "partitions")
    )
    run_id = time.strftime("scheduled-%Y%m%dT%H%M%SZ", time.gmtime())
    codes = [0]
    for table in configuration["tables"]:
        given = {
            **dict.fromkeys(options.CONNECTION),
            **_DEFAULTS,
            **configuration["common"],
            **configuration["connection"],
            **table,
            "run_id": run_id,
        }
        told: dict[str, Any] = {"table": f"{given['schema']}.{given['table']}"}
        try:
            outcome = partitions.run(given, check=False)
        except (errors.ConnectionFailed, errors.RunnerBusy) as error:
            codes.append(TRY_AGAIN)
            told["error"] = str(error)
        except errors.RolloutError as error:
            codes.append(RED)
            told["error"] = str(error)
        # Whatever it is, the other tables are maintained.
        except Exception as error:
            codes.append(RED)
            told["error"] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        else:
            codes.append(0 if outcome.healthy else RED)
            red = [found for found in outcome.findings if found["alarming"]]
            told.update(summary=outcome.summary, actions=outcome.actions, red=red)
        print(json.dumps(told, ensure_ascii=False), flush=True)
    return RED if RED in codes else max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
