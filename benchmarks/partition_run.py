"""What the experiments with partitions share: a database in which the migrations ran, and a run of maintenance."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator

from ansible.module_utils.rollout import partitions
from ansible.module_utils.rollout.options import ConnectionOptions
from ansible.module_utils.rollout.partition_changes import Terms
from ansible.module_utils.rollout.partition_plan import Desired
from ansible.module_utils.rollout.partition_transfer import FileSession
from ansible.module_utils.rollout.partitions import Order, Outcome

from benchmarks.bench import Bench
from benchmarks.distance import NEAR, way_to
from benchmarks.rollout_run import Run
from sandbox.databases import Database


def maintained(database: Database, desired: Desired, today: datetime.date | None = None) -> Outcome:
    """Maintain a table of a database as ``pg_partitions`` does.

    :param today: instead of the server's day
    """
    order = Order("public", desired, "UTC", Terms("rollout", "benchmark"), "benchmark", today=today)
    return partitions.maintain(
        lambda: FileSession(ConnectionOptions(**database.options), "benchmark"), order, check=False
    )


@contextlib.contextmanager
def prepared(bench: Bench) -> Iterator[Database]:
    """A fresh database in which the role's migrations are in force."""
    with bench.database() as database:
        with way_to(bench.server, NEAR) as way:
            Run(database.options, way).apply(bench.migrations, bench.settings)
        yield database
