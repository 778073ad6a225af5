"""One audit from the code to the report's files, on the control node; the proof is made by whoever can."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.rollout.audit import report
from ansible.module_utils.rollout.audit.chain import Chain
from ansible.module_utils.rollout.audit.extraction import Audit, audit
from ansible.module_utils.rollout.audit.javascript import RUNTIME, Member, library
from ansible.module_utils.rollout.audit.live_schema import LiveSchema, from_json
from ansible.module_utils.rollout.audit.sources import Commit, open_source
from ansible.module_utils.rollout.audit.translate import translate

#: Takes the calls, and returns what the module query_proof returns; ``None`` when nothing was proven.
Prove = Callable[[Sequence[Chain]], "Mapping[str, Any] | None"]


def find(
    source: str, commit: str = "", exclude: Sequence[str] = (), entry_points: Sequence[str] = ()
) -> Audit:
    """Every call of a code base.

    :param source: folder, or git repository when ``commit`` is given
    :param exclude: names or paths of folders to leave out
    :param entry_points: first files of the services, relative to the source
    :raises SourceError: one of them is not there
    """
    opened = open_source(source, commit, tuple(exclude))
    try:
        return audit(opened, entry_points)
    finally:
        if isinstance(opened, Commit):
            opened.close()


def finish(
    found: Audit,
    proof: Mapping[str, Any] | None,
    folder: Path | None,
    schema_name: str = "public",
    max_rows: int | None = 1000,
) -> dict[str, Any]:
    """Write the report, and say what is in it.

    :param proof: what query_proof returned; ``None`` or without ``verdicts`` when nothing was proven
    :param folder: where the files go; ``None`` writes nothing
    :returns: ``totals``, ``sentence`` (empty without a proof), ``files``
    """
    proven = proof if proof is not None and "verdicts" in proof else None
    content = report.document(found, proven)
    files: list[str] = []
    if folder is not None:
        schema = from_json(proven["live_schema"]) if proven is not None else None
        members = [
            Member(chain, translation)
            for chain in found.chains
            if not chain.test
            for translation in _translations(chain, schema, schema_name, max_rows)
        ]
        generated = library(members, RUNTIME.read_text(encoding="utf-8"), max_rows).text
        files = report.write(folder, content, proven["proposal"] if proven is not None else "", generated)
    return {"totals": content["totals"], "sentence": proven["sentence"] if proven else "", "files": files}


def _translations(
    chain: Chain, schema: LiveSchema | None, schema_name: str, max_rows: int | None
) -> tuple[Any, ...]:
    return translate(chain, schema, schema_name, max_rows)
