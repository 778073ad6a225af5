"""How long an audit takes, against merely parsing the files that contain a call, and its memory.

python -m benchmarks.query_audit <folder with code>
python -m benchmarks.query_audit --files 10000
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ansible.module_utils

from benchmarks import ROOT

if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils.rollout.audit.extraction import HIT, SCRIPTS, audit
from ansible.module_utils.rollout.audit.sources import Folder
from ansible.module_utils.rollout.audit.syntax import parse

MOST_TIMES_PARSING = 3.0
MOST_MEGABYTES = 200
#: For the made code base: seconds and files.
MOST_SECONDS = 60.0
ROUNDS = 5

#: One file in five has calls, as in the real code base; the others are as long.
WITH_CALLS = """
const {{ supabase }} = require('../database');
class Repository{n} {{
  constructor() {{ this.table = 'table_{n}'; }}
  async find(id, options = {{}}) {{
    let query = supabase.from(this.table).select('id, name, created_at').eq('company_id', id);
    if (options.status) query = query.eq('status', options.status);
    const {{ data, error }} = await query.order('created_at').limit(50);
    if (error) throw error;
    return data;
  }}
  async save(rows) {{
    const prepared = rows.map((row) => ({{ id: row.id, name: row.name || '', updated_at: new Date().toISOString() }}));
    const {{ error }} = await supabase.from('table_{n}').upsert(prepared, {{ onConflict: 'id' }});
    if (error) throw error;
  }}
}}
module.exports = {{ Repository{n} }};
"""
DATABASE = """
const { createClient } = require('@supabase/supabase-js');
module.exports = { supabase: createClient(process.env.URL, process.env.KEY) };
"""
WITHOUT = """
const service = require('./file{m}');
function compute{n}(list) {{
  const found = Array.from(new Set(list.map((item) => item.id)));
  return found.filter(Boolean).reduce((sum, value) => sum + value, 0);
}}
module.exports = {{ compute{n} }};
"""


def main() -> int:
    """Measure and return the exit code: 1 when a limit is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.query_audit", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="code to audit")
    parser.add_argument("--files", type=int, help="make a code base of so many files instead")
    chosen = parser.parse_args()
    if (chosen.folder is None) == (chosen.files is None):
        parser.error("give a folder, or --files")
    if chosen.files is not None:
        with tempfile.TemporaryDirectory(prefix="rollout-audit-") as made:
            make(Path(made), chosen.files)
            seconds = least(lambda: audit(Folder(Path(made))), 1)
            print(f"{chosen.files} files: {seconds:.1f} s (at most {MOST_SECONDS:.0f} s), {megabytes()} MB")
            return int(seconds > MOST_SECONDS)
    texts = [
        path.read_bytes()
        for path in sorted(chosen.folder.rglob("*"))
        if path.is_file() and path.suffix in SCRIPTS
    ]
    holding = [text for text in texts if HIT.search(text)]
    parsing = least(lambda: [parse(text) for text in holding], ROUNDS)
    auditing = least(lambda: audit(Folder(chosen.folder)), ROUNDS)
    ratio = auditing / parsing
    print(
        f"{len(texts)} files, {len(holding)} with a call: parsed in {parsing:.3f} s, audited in {auditing:.3f} s, "
        f"{ratio:.1f} times (at most {MOST_TIMES_PARSING:.0f}), {megabytes()} MB (at most {MOST_MEGABYTES})"
    )
    return int(ratio > MOST_TIMES_PARSING or megabytes() > MOST_MEGABYTES)


def make(folder: Path, files: int) -> None:
    """A code base of small files."""
    (folder / "database.js").write_text(DATABASE)
    for number in range(files - 1):
        inside = folder / f"part{number // 100}"
        inside.mkdir(exist_ok=True)
        text = WITH_CALLS if number % 5 == 0 else WITHOUT
        # So long that the whole has about the size of a real one.
        filling = f"// {'x' * 96}\n" * 60
        (inside / f"file{number}.js").write_text(text.format(n=number, m=number + 1) + filling)


def least(action: Callable[[], object], rounds: int) -> float:
    """Processor time of the fastest of several runs, seconds: others use the machine, too."""
    times = []
    for _ in range(rounds):
        begun = time.process_time()
        action()
        times.append(time.process_time() - begun)
    return min(times)


def megabytes() -> int:
    """The most memory that this process has used."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    sys.exit(main())
