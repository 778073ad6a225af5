#!/usr/bin/python
"""Module pg_backup: glue between Ansible and module_utils/rollout/backup.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pg_backup
short_description: A PostgreSQL backup that was restored before it counts
description:
  - Reads the catalog, counts the rows and runs C(pg_dump -Fc) in one and the same snapshot, while the application goes
    on writing.
  - Reads the dump to its end, compares its list with the catalog, restores it into a scratch target and compares the
    catalog, the rows and a checksum over the rows of every table. Only then it gets its name, by one rename.
  - A backup is a folder with C(database.dump), C(catalog.json) and C(manifest.json), mode 0700, files 0600. It holds
    personal data and stays on the host.
  - The password reaches the programs through a file in memory, never through a command line, the environment or a disk.
options:
  directory:
    description: Folder for the backups, an absolute path on the host. Made with mode 0700 where it is missing.
    type: path
    required: true
  state:
    description:
      - V(present) takes a new backup and proves it.
      - V(verified) finds one that counts, and fails where there is none. It must be proven, of this very database, of
        the same O(schemas) and O(tables), no older than O(max_age_minutes), and every byte as it was made.
    type: str
    choices: [present, verified]
    default: present
  path:
    description: With O(state=verified) this backup, by its folder or a file in it. Empty takes the newest that counts.
    type: path
    default: ""
  schemas:
    description: Only these schemas. Empty takes all.
    type: list
    elements: str
    default: []
  tables:
    description:
      - Only the rows of these tables, as C(schema.table) or C(table), of their partitions and of what their foreign
        keys refer to. The structure is always whole. Empty takes the rows of all.
    type: list
    elements: str
    default: []
  label:
    description: What the backup is for, small letters, digits and C(-). Limits apply among backups of one label.
    type: str
    default: backup
  scratch:
    description:
      - Where the dump is restored to prove it.
      - V(database) takes a database beside the source, for which the role needs CREATEDB. V(local) takes a throw-away
        server on the host, for which PostgreSQL's server programs must be installed there. V(auto) takes the first that
        is possible. V(none) proves nothing, and records that.
    type: str
    choices: [auto, database, local, none]
    default: auto
  keep_count:
    description: Newest backups of the label that are kept. V(0) sets no limit.
    type: int
    default: 0
  keep_days:
    description: Age up to which backups of the label are kept, days. V(0) sets no limit. The newest proven one stays.
    type: int
    default: 0
  max_age_minutes:
    description: With O(state=verified) the age up to which a backup counts, minutes. V(0) sets no limit.
    type: int
    default: 0
  bin_dir:
    description:
      - Folder of C(pg_dump) and C(pg_restore) on the host. Empty looks in PATH and where distributions put them, and
        takes the server's major version or the next one above it. An older one is refused.
    type: path
    default: ""
  run_id:
    description: The run, for the manifest and C(pg_stat_activity).
    type: str
    default: by hand
  lock_timeout_ms:
    description: Longest wait for the lock on a table (ACCESS SHARE), milliseconds.
    type: int
    default: 1500
  turn_timeout_s:
    description:
      - Longest wait for another backup that is being made in the same folder, seconds. Hosts of the inventory that are
        one machine, a fleet's databases, take turns.
    type: int
    default: 900
  timeout_s:
    description: Longest run of one program and of one count, seconds.
    type: int
    default: 3600
extends_documentation_fragment: rollout_connection
attributes:
  check_mode:
    support: full
    description: Says what would be dumped and how it would be proven. Nothing is written.
  diff_mode:
    support: none
    description: The database is not changed.
  idempotent:
    support: none
    description: Every call takes a new backup.
author:
  - The rollout's founders (@rollout)
"""

EXAMPLES = r"""
- name: Take a backup and prove it
  pg_backup:
    directory: /var/backups/rollout
    keep_count: 7
    service: sandbox

- name: Refuse to go on without one that is an hour old at most
  pg_backup:
    state: verified
    directory: /var/backups/rollout
    max_age_minutes: 60
    service: sandbox
"""

RETURN = r"""
summary:
  description: What was done, or would be, in one sentence.
  type: str
  returned: success
backup:
  description: The backup. Empty in check mode with O(state=present).
  type: dict
  returned: success
  contains:
    path:
      description: The dump.
      type: str
    manifest:
      description: Its record.
      type: str
    sha256:
      description: Of the dump.
      type: str
    bytes:
      description: Size of the dump.
      type: int
    tables:
      description: Rows and bytes of each table whose rows are in the dump.
      type: dict
    fingerprint:
      description: SHA-256 over the catalog as a restored copy must have it.
      type: str
    snapshot_at:
      description: The moment that it shows, UTC.
      type: str
    proven:
      description: Whether it was restored and found equal.
      type: bool
    proof:
      description: How, where, how long it took, and which extensions the target could not have.
      type: dict
database:
  description: Name of the database.
  type: str
  returned: success
database_bytes:
  description: Size of the whole database on the server.
  type: int
  returned: success
tables:
  description: How many tables' rows are in it.
  type: int
  returned: success
rows:
  description: How many rows. 0 in check mode, which does not count.
  type: int
  returned: success
scratch:
  description: How it was proven, or would be.
  type: str
  returned: success
programs:
  description: Folder and version of the programs that were used.
  type: str
  returned: success
removed:
  description: Older backups that the limits no longer keep, and leavings of killed runs.
  type: list
  elements: str
  returned: success
seconds:
  description: Time for counting, dumping, reading and proving, seconds.
  type: dict
  returned: success
details:
  description: What failed, for a machine.
  type: dict
  returned: failure
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.rollout import options
from ansible.module_utils.rollout.errors import RolloutError

try:
    from ansible.module_utils.rollout import backup
except ImportError as error:
    PSYCOPG_MISSING: ImportError | None = error
else:
    PSYCOPG_MISSING = None

OPTIONS = {
    "directory": {"type": "path", "required": True},
    "state": {"type": "str", "choices": ["present", "verified"], "default": "present"},
    "path": {"type": "path", "default": ""},
    "schemas": {"type": "list", "elements": "str", "default": []},
    "tables": {"type": "list", "elements": "str", "default": []},
    "label": {"type": "str", "default": "backup"},
    "scratch": {"type": "str", "choices": ["auto", "database", "local", "none"], "default": "auto"},
    "keep_count": {"type": "int", "default": 0},
    "keep_days": {"type": "int", "default": 0},
    "max_age_minutes": {"type": "int", "default": 0},
    "bin_dir": {"type": "path", "default": ""},
    "run_id": {"type": "str", "default": "by hand"},
    "lock_timeout_ms": {"type": "int", "default": 1500},
    "turn_timeout_s": {"type": "int", "default": 900},
    "timeout_s": {"type": "int", "default": 3600},
}


def main() -> None:
    module = AnsibleModule(argument_spec={**OPTIONS, **options.CONNECTION}, supports_check_mode=True)
    if PSYCOPG_MISSING is not None:
        module.fail_json(msg=missing_required_lib("psycopg", reason="playbooks/runtime.yml installs it"))
    given = module.params
    database = options.connection_options(given)
    try:
        settings = backup.BackupSettings(
            **{name: given[name] for name in OPTIONS if name not in ("state", "path", "schemas", "tables")},
            schemas=tuple(given["schemas"]),
            tables=tuple(given["tables"]),
            application_name=given["application_name"],
        )
        if given["state"] == "present":
            outcome = backup.make(database, settings, check=module.check_mode)
        else:
            outcome = backup.verify(database, settings, given["path"])
    except RolloutError as error:
        module.fail_json(msg=str(error), details=error.details)
    module.exit_json(**outcome.as_json())


if __name__ == "__main__":
    main()
