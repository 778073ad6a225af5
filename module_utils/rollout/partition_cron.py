"""Let pg_cron, inside the server, keep the months of a table ahead by the function that its migration made.

The job records what came of it where ``pg_partitions`` does, so that the alarm, precheck and verify know of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible.module_utils.rollout import options, partition_record
from ansible.module_utils.rollout.connection import Command, Session
from ansible.module_utils.rollout.errors import RolloutError
from ansible.module_utils.rollout.ledger import quoted as quoted_schema
from ansible.module_utils.rollout.partition_reading import quoted

_READY = """
SELECT current_database(), current_user, e.oid IS NOT NULL, coalesce(has_schema_privilege(n.oid, 'USAGE'), false),
       to_regprocedure(%(function)s) IS NOT NULL
  FROM (SELECT 1) one LEFT JOIN pg_extension e ON e.extname = 'pg_cron' LEFT JOIN pg_namespace n ON n.nspname = 'cron'
"""
# Row security shows a login its own jobs; a superuser sees those of all.
_JOBS = """
SELECT jobid, schedule, command, active FROM cron.job WHERE jobname = %(name)s AND username = current_user ORDER BY 1
"""
# A failure of the function is recorded instead of raised: what is raised would take its record along.
_COMMAND = """DO $rollout$
DECLARE
    done jsonb;
    problem text := '';
    reach timestamptz := now();
    bound record;
BEGIN
    PERFORM set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true);
    BEGIN
        SELECT coalesce(jsonb_agg(jsonb_build_object('action', m.action, 'partition', m.partition_name)), '[]')
        INTO done FROM {function} AS m;
        IF EXISTS (SELECT FROM jsonb_array_elements(done) AS d WHERE d ->> 'action' LIKE 'not %') THEN
            problem := 'some months could not be retired: see actions';
        END IF;
    EXCEPTION WHEN OTHERS THEN
        done := '[]';
        problem := 'SQLSTATE ' || SQLSTATE || ': ' || SQLERRM;
    END;
    FOR bound IN
        SELECT coalesce(substring(b.text FROM 'FROM \\(''(.+)''\\) TO')::timestamptz, '-infinity') AS lower,
               coalesce(substring(b.text FROM 'TO \\(''(.+)''\\)')::timestamptz, 'infinity') AS upper
        FROM pg_inherits AS h
        JOIN pg_class AS c ON c.oid = h.inhrelid
        CROSS JOIN LATERAL (SELECT pg_get_expr(c.relpartbound, c.oid)) AS b(text)
        WHERE h.inhparent = {table}::regclass AND NOT h.inhdetachpending AND b.text <> 'DEFAULT'
        ORDER BY 1
    LOOP
        EXIT WHEN bound.lower > reach;
        reach := greatest(reach, bound.upper);
    END LOOP;
    INSERT INTO {ledger}.maintenance (target_schema, target_table, run_id, outcome, unit, ahead, covered_until, actions,
        findings, message, ran_from)
    SELECT {schema}, {name}, 'pg_cron-' || to_char(now(), 'YYYYMMDD"T"HH24MISS"Z"'),
           CASE WHEN problem = '' THEN 'done' ELSE 'failed' END, 'month', m.ahead,
           CASE WHEN reach > now() THEN reach END, done, '[]', problem, 'pg_cron'
    FROM (
        SELECT greatest(0, ((extract(year FROM a.age) * 12 + extract(month FROM a.age))::integer - 1)) AS ahead
        FROM (SELECT age(date_trunc('month', least(reach, now() + interval '100 years') AT TIME ZONE {zone}),
                         date_trunc('month', now() AT TIME ZONE {zone}))) AS a(age)
    ) AS m;
END
$rollout$"""


@dataclass(frozen=True)
class Job:
    """A job of pg_cron.

    :ivar schedule: as in ``cron.schedule``: five fields in ``cron.timezone``, UTC unless the server says otherwise
    :ivar command: SQL that it runs
    """

    name: str
    schedule: str
    command: str

    def __str__(self) -> str:
        return f"{self.name}: {self.schedule}\n{self.command}\n"


@dataclass(frozen=True)
class Scheduled:
    """What became of it.

    :ivar before: the job as it was, as text for ``--diff``; empty where there was none
    """

    changed: bool
    before: str
    after: str


def run(given: Mapping[str, Any], *, check: bool) -> tuple[Job, Scheduled]:
    """Do what the options of ``pg_partitions_job`` say.

    :param given: the module's options, connection included
    :raises RolloutError: see :func:`job_for` and :func:`bring_about`
    """
    schema, table, ledger = given["schema"], given["table"], given["ledger"]
    wanted = given["state"] == "present"
    job = job_for(schema, table, given["unit"], given["zone"], ledger, given["schedule"])
    with Session(options.connection_options(given), given["application_name"], read_only=check) as session:
        return job, bring_about(session, job, function_of(schema, table), ledger, wanted=wanted, check=check)


def job_for(schema: str, table: str, unit: str, zone: str, ledger: str, schedule: str) -> Job:
    """The job that keeps a table's months ahead.

    :param ledger: schema of the ledger, where each run is recorded
    :raises RolloutError: the table has no function that does it
    """
    if unit != "month":
        raise RolloutError(
            f"{schema}.{table} is kept by {unit}, and {function_of(schema, table)} keeps months",
            hint="Take another schedule for it (maintain_schedule: auto).",
        )
    command = _COMMAND.format(
        function=function_of(schema, table),
        table=_literal(quoted(schema, table)),
        ledger=quoted_schema(ledger),
        schema=_literal(schema),
        name=_literal(table),
        zone=_literal(zone),
    )
    if command.count("$rollout$") != 2:
        raise RolloutError(f"the name of {schema}.{table} holds $rollout$", hint="Rename it.")
    return Job(f"rollout-maintain {schema}.{table}", schedule, command)


def function_of(schema: str, table: str) -> str:
    """The function that keeps a table's months, as a migration has to name it."""
    return f"{quoted(schema, f'maintain_{table}_partitions')}()"


def bring_about(
    session: Session, job: Job, function: str, ledger: str, *, wanted: bool, check: bool
) -> Scheduled:
    """Make the job as it has to be, or take it away.

    :param function: that it calls
    :param ledger: schema of the ledger
    :param wanted: whether there is to be one
    :param check: change nothing, and say what would be done
    :raises RolloutError: pg_cron is not in this database or may not be used, or there is nothing to call
    """
    if wanted or _has_pg_cron(session):
        _refuse_unready(session, function, wanted=wanted)
        found = session.run([Command(_JOBS, {"name": job.name})])[0]
    else:
        found = []
    standing = [Job(job.name, schedule, command) for _, schedule, command, _ in found]
    before = "".join(str(one) for one in standing)
    right = [job] if wanted else []
    if standing == right and all(active for *_, active in found):
        return Scheduled(False, before, before)
    if not check:
        if wanted and not partition_record.exists(session, ledger):
            raise RolloutError(
                f"there is no table {ledger}.maintenance to record runs in",
                hint="The first run of pg_partitions, which playbooks/maintain.yml does before, makes it.",
            )
        commands = [Command("SELECT cron.unschedule(%s::bigint)", (number,)) for number, *_ in found]
        if wanted:
            values = (job.name, job.schedule, job.command)
            commands.append(Command("SELECT cron.schedule(%s, %s, %s)", values))
        session.run(["BEGIN", *commands, "COMMIT"])
    return Scheduled(True, before, str(job) if wanted else "")


def _has_pg_cron(session: Session) -> bool:
    return bool(session.run(["SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')"])[0][0][0])


def _refuse_unready(session: Session, function: str, *, wanted: bool) -> None:
    row = session.run([Command(_READY, {"function": function})])[0][0]
    database, login, installed, usable, callable_ = row
    if not installed:
        raise RolloutError(
            f"there is no pg_cron in database {database}",
            hint="As superuser, or by the provider's console: pg_cron in shared_preload_libraries, cron.database_name ="
            f" '{database}', CREATE EXTENSION pg_cron. Or take maintain_schedule: auto.",
        )
    if not usable:
        raise RolloutError(f"{login} may not use pg_cron", hint=f'GRANT USAGE ON SCHEMA cron TO "{login}"')
    if wanted and not callable_:
        raise RolloutError(
            f"there is no function {function} that pg_cron could call",
            hint="A migration has to make it, as 0002_messages does. Or take maintain_schedule: auto.",
        )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
