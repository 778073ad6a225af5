"""playbooks/audit.yml as an operator runs it: the calls of some code against a real schema, and the gate."""

import json
from pathlib import Path

from sandbox.databases import Database
from tests.integration.rollout_project import RolloutProject

CODE = """
const { createClient } = require('@supabase/supabase-js');
const db = createClient(url, key);
exports.creds = async (id) => {
  const { data, error } = await db.from('whatsapp_auth').select('company_id, creds').eq('company_id', id).maybeSingle();
  if (error) throw error;
  return data;
};
exports.name = async (id) => {
  const { data, error } = await db.from('whatsapp_auth').select('nickname').eq('company_id', id).limit(1);
  if (error) throw error;
  return data;
};
"""


def test_calls_are_proven_reported_and_can_fail_a_run(database: Database, tmp_path: Path) -> None:
    source = tmp_path / "code"
    source.mkdir()
    (source / "auth.js").write_text(CODE)
    project = RolloutProject(tmp_path / "project", database)
    arguments = ("playbooks/audit.yml", "-i", "prod", "-e", f"audit_source={source}")

    told = project.playbook(*arguments)
    assert told.code == 0, told.output
    assert "1 of 2 calls of the code would fail on this schema." in told.output
    written = json.loads((project.reports / "latest" / "audit.json").read_text())
    assert [(row["line"], row["verdict"]) for row in written["chains"]] == [(5, "runs"), (10, "fails")]
    assert written["chains"][1]["problems"][0]["code"] == "42703"
    assert "nickname" in (project.reports / "latest" / "audit.sql").read_text()
    section = project.report()["hosts"]["app"]["sections"]["audit"]
    assert section["counts"] == {"runs": 1, "fails": 1, "unknown": 0}
    assert project.report()["outcome"] == "succeeded"

    found = project.playbook(*arguments, "-e", "audit_prove=false", "--check")
    assert found.code == 0, found.output
    assert "2 calls in 1 files. Not proven" in " ".join(found.output.split())

    refused = project.playbook(*arguments, "-e", "audit_fail_on=missing")
    assert refused.code != 0
    assert "auth.js:10" in refused.output
    assert (project.reports / "latest" / "audit.md").is_file()
    assert project.report()["outcome"] == "failed"
