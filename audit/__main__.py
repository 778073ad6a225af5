"""``python -m audit <source>``: find every supabase-js call, prove it if a database is named, and write the report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ansible.module_utils

ROOT = Path(__file__).resolve().parent.parent
# The logic is imported by the name that modules use, also here.
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils.rollout.audit import run  # noqa: E402
from ansible.module_utils.rollout.audit.chain import Chain  # noqa: E402
from ansible.module_utils.rollout.audit.proof import prove  # noqa: E402
from ansible.module_utils.rollout.audit.proof_result import gate  # noqa: E402
from ansible.module_utils.rollout.audit.proposal import proposal  # noqa: E402
from ansible.module_utils.rollout.connection import Session  # noqa: E402
from ansible.module_utils.rollout.errors import RolloutError  # noqa: E402
from ansible.module_utils.rollout.options import ConnectionOptions  # noqa: E402

#: Exit codes: calls would fail and ``--fail-on missing`` was given, or the audit could not be made.
EXIT_FAILED = 1
_CONNECTION = ("host", "port", "dbname", "user", "passfile", "service", "sslmode", "sslrootcert")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the audit and return the exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        found = run.find(chosen.source, chosen.commit, chosen.exclude, chosen.entry_point)
        proof, failure = _proof(found.chains, chosen)
        summary = run.finish(found, proof, chosen.output, chosen.schema, chosen.max_rows or None)
    except RolloutError as error:
        print(f"audit: {error}", file=sys.stderr)
        return EXIT_FAILED
    totals = summary["totals"]
    print(f"{totals['calls']} calls in {totals['files_read']} files: {totals['by_operation']}")
    print(f"How sure: {totals['by_certainty']}")
    for note in found.problems:
        print(f"  {note.file}:{note.line} {note.reason}" if note.line else f"  {note.file} {note.reason}")
    print(summary["sentence"] or "Not proven: no database was named.")
    print(f"Report: {chosen.output} ({', '.join(summary['files'])})")
    if failure:
        print(f"audit: {failure}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _proof(chains: Sequence[Chain], chosen: argparse.Namespace) -> tuple[Mapping[str, Any] | None, str]:
    """The proof, and why it fails the run; nothing when no database is named."""
    given = {name: getattr(chosen, name) for name in _CONNECTION if getattr(chosen, name) is not None}
    if not given:
        if chosen.fail_on == "missing":
            raise RolloutError(
                "--fail-on missing needs a database to prove against",
                hint="Name one: --service, or --host and others.",
            )
        return None, ""
    with Session(ConnectionOptions(**given), "query audit", read_only=True) as session:
        found, schema = prove(session, chosen.schema, chains, chosen.max_rows or None)
    proof = {
        **found.as_json(),
        "live_schema": schema.as_json(),
        "proposal": proposal(schema, chains, found.verdicts),
    }
    try:
        gate(found, chosen.fail_on)
    except RolloutError as error:
        return proof, str(error)
    return proof, ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m audit",
        description="Every supabase-js call of a code base: found, linted, and proven against a schema.",
        epilog="A password is never an argument: it comes from --passfile, --service or PGPASSWORD.",
    )
    parser.add_argument("source", help="folder with the code, or a git repository when --commit is given")
    parser.add_argument(
        "--commit", default="", help="hash, branch or tag; read without touching the work tree"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("reports/audit"),
        help="folder for the report (default: %(default)s)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="FOLDER",
        help="folder to leave out; may be repeated",
    )
    parser.add_argument(
        "--entry-point",
        action="append",
        default=[],
        metavar="FILE",
        help="first file of a service; may be repeated (default: those of PM2's configuration in the source)",
    )
    parser.add_argument("--schema", default="public", help="schema to prove against (default: %(default)s)")
    parser.add_argument(
        "--max-rows",
        type=int,
        default=1000,
        help="PostgREST's db-max-rows; 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--fail-on",
        choices=("missing", "none"),
        default="none",
        help="whether calls that would fail fail the command",
    )
    database = parser.add_argument_group("database", "libpq's keywords; without any, nothing is proven")
    for name in _CONNECTION:
        database.add_argument(f"--{name}", type=int if name == "port" else str)
    return parser


if __name__ == "__main__":
    sys.exit(main())
