"""A small project whose playbook has everything that callback rollout must show: each thing is a word in capitals."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sandbox.terminal import Shown, run_in_terminal
from tests.integration.playbook_run import PLAYBOOK_TIMEOUT_S, Project, program

#: Words that must be there, and how often: what two hosts say is there twice.
ONCE = {
    "MESSAGE": 1,
    "LISTED_ONE": 1,
    "LISTED_TWO": 1,
    "VARIABLE": 1,
    "FIRST_LINE": 1,
    "SECOND_LINE": 1,
    "STDERR": 1,
    "TRACE": 1,
    "ITEM_TWO": 1,
    "WARNED": 1,
    "WARNED_IN_A_LOOP": 1,
    "DEPRECATED": 1,
    "UNREACHED": 2,  # where it happened, and in the outcome
    "ATTENTION": 2,  # as a warning, and in the table
    "MEND_IT": 1,
    "RETRYING": 1,
    "RESCUED_REASON": 1,
    "THE_END": 1,
}
#: Words that must never be there.
NEVER = ("SECRET",)

_MODULE = """
import sys
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"mood": {}, "text": {}, "passed": {"no_log": True}})
if module.params["mood"] == "fails":
    module.fail_json(msg="FIRST_LINE of it\\nSECOND_LINE of it", stderr="STDERR of it")
if module.params["mood"] == "breaks":
    sys.stderr.write("TRACE of an interpreter that is gone")
    sys.exit(3)
module.exit_json(changed=True, msg=module.params["text"])
"""

# What needs no module, because an action takes a hundredth of the time.
_ACTION = """
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        mood, text = self._task.args.get("mood"), self._task.args.get("text", "")
        if mood == "warns":
            Display().warning(text)
        if mood == "deprecates":
            Display().deprecated(text, version="99.0")
        diff = {"before": "", "after": "DIFFERENCE\\n"} if mood == "differs" else None
        changed = mood in ("changes", "differs")
        return {"changed": changed, "failed": mood == "denies", "msg": text, **({"diff": diff} if diff else {})}
"""

_LIVE = """
import time
from pathlib import Path

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        Display().display("live 1/2 · all well")
        # Whoever reads the log as it is written says so; nobody waits for the others.
        seen = Path(self._task.args["seen"])
        seen.with_name("shown").touch()
        until = time.monotonic() + self._task.args["patience"]
        while not seen.exists() and time.monotonic() < until:
            time.sleep(0.02)
        Display().display("live 2/2 · all well")
        return {"changed": False, "was_seen": seen.exists()}
"""

_NOWHERE = """
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = '''
name: nowhere
short_description: Leads nowhere
'''


class Connection(ConnectionBase):
    transport = "nowhere"

    def _connect(self):
        raise AnsibleConnectionFailure("UNREACHED: no way there")

    def exec_command(self, cmd, in_data=None, sudoable=True):
        self._connect()

    put_file = fetch_file = exec_command

    def close(self):
        pass
"""

_PLAYBOOK = """
- name: Reach everybody
  hosts: all
  gather_facts: false
  tasks:
    - name: Knock
      ansible.builtin.raw: "true"
      changed_when: false

- name: Work
  hosts: all
  gather_facts: false
  tasks:
    - name: Do what nobody needs to see
      ansible.builtin.include_tasks: inner.yml

    - name: Show a live line
      live:
        seen: "{{ playbook_dir }}/seen"
        patience: "{{ patience | default(0) | int }}"
      register: shown
      when: inventory_hostname == 'a'

    - name: Tell whether it was seen
      ansible.builtin.debug:
        msg: "was_seen is {{ shown.was_seen }}"
      when: inventory_hostname == 'a'

    - name: Say something
      ansible.builtin.include_tasks: says.yml
      when: inventory_hostname == 'a'

    - name: Leave everybody alone
      ansible.builtin.debug:
        msg: not said
      when: false

    - name: Fail, and go on
      ansible.builtin.include_tasks: fails.yml
      when: inventory_hostname == 'a'

    - name: Judge
      checklist:
        name: checks
        findings:
          - {id: slow, title: It is fast, status: warning, expected: fast, observed: "ATTENTION: slow", hint: MEND_IT,
             evidence: {}, seconds: 0.1}
          - {id: good, title: All is there, status: passed, expected: "11", observed: 11 of 11, hint: "",
             evidence: {}, seconds: 0.1}
      when: inventory_hostname == 'a'

    - name: What is handled
      block:
        - name: Fail, to be rescued
          ansible.builtin.fail:
            msg: RESCUED_REASON
          when: inventory_hostname == 'a'
      rescue:
        - name: Mend it
          ansible.builtin.debug:
            msg: mended

    - name: Change a file
      speaks:
        mood: differs
      notify: Take it up

    - name: End
      ansible.builtin.fail:
        msg: THE_END
      when: inventory_hostname == fails_on | default('b') and fails | default(true) | bool
  handlers:
    - name: Take it up
      speaks:
        mood: changes
"""

_PARTS = {
    "inner.yml": """
- name: Inner task
  speaks:
- name: Inner change
  speaks:
    mood: changes
""",
    "says.yml": """
- name: A message
  ansible.builtin.debug:
    msg: MESSAGE of one line
- name: A list
  ansible.builtin.debug:
    msg: [LISTED_ONE, LISTED_TWO]
- name: A variable
  ansible.builtin.debug:
    var: told
  vars:
    told: {word: VARIABLE}
- name: A warning
  speaks: {mood: warns, text: "WARNED of it"}
- name: An outdated way
  speaks: {mood: deprecates, text: "DEPRECATED way"}
- name: A warning in a loop
  speaks: {mood: warns, text: WARNED_IN_A_LOOP}
  when: item == 2
  loop: [1, 2]
""",
    "fails.yml": """
- name: Fail as a module does
  module: {mood: fails}
  tags: [slow]
  ignore_errors: true
- name: Break as an interpreter does
  module: {mood: breaks}
  tags: [slow]
  ignore_errors: true
- name: Fail in a loop
  speaks: {mood: "{{ 'denies' if item == 2 else 'well' }}", text: "ITEM_{{ 'TWO' if item == 2 else 'ONE' }}"}
  loop: [1, 2]
  ignore_errors: true
- name: Try again
  speaks: {mood: denies, text: not yet}
  register: tried
  until: tried is not failed
  retries: 1
  delay: 0
  ignore_errors: true
- name: Fail with what nobody may see
  ansible.builtin.fail:
    msg: SECRET word
  no_log: true
  ignore_errors: true
  tags: [secret]
- name: Fail in a loop with what nobody may see
  ansible.builtin.fail:
    msg: "SECRET word {{ item }}"
  loop: [SECRET_ITEM]
  no_log: true
  ignore_errors: true
  tags: [secret]
- name: Hide an argument
  module: {passed: SECRET_ARGUMENT, text: SECRET_ARGUMENT}
  tags: [slow]
""",
}

_INVENTORY = """
all:
  vars:
    ansible_connection: local
  hosts:
    a:
    b:
    lost:
      ansible_connection: nowhere
"""


class ConsoleProject(Project):
    """The small project.

    :param folder: where it is made; must not exist
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.write("library/module.py", _MODULE)
        for name, text in (("live", _LIVE), ("speaks", _ACTION)):
            self.write(f"action_plugins/{name}.py", text)
            # Ansible asks for a module of that name.
            self.write(f"library/{name}.py", "")
        self.write("connection_plugins/nowhere.py", _NOWHERE)
        self.write("everything.yml", _PLAYBOOK)
        self.write("hosts.yml", _INVENTORY)
        for name, text in _PARTS.items():
            self.write(name, text)

    def command(self, *arguments: str) -> list[str]:
        """The playbook, with further arguments."""
        return [program("ansible-playbook"), "everything.yml", "-i", "hosts.yml", "--diff", *arguments]

    def environment(self, added: Mapping[str, str] | None = None) -> dict[str, str]:
        """Of a run by callback rollout, unless another one is named."""
        settings = {
            "ANSIBLE_STDOUT_CALLBACK": "rollout",
            "ANSIBLE_CONNECTION_PLUGINS": str(self.folder / "connection_plugins"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            # One host after the other, and sets in one order: two runs can be compared.
            "ANSIBLE_FORKS": "1",
            "PYTHONHASHSEED": "0",
        }
        unwanted = ("NO_COLOR", "PYTHONUNBUFFERED")
        inherited = {name: value for name, value in super().environment().items() if name not in unwanted}
        return {**inherited, **settings, **(added or {})}

    def in_a_pipe(self, *arguments: str, callback: str = "rollout", **more: str) -> Shown:
        """A run whose output goes to a program."""
        environment = {"ANSIBLE_STDOUT_CALLBACK": callback, **more}
        run = self.run("ansible-playbook", *self.command(*arguments)[1:], environment=environment)
        return Shown(run.code, run.output)

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A run that goes on; standard output can be read. With an exception, it and its forks are killed."""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise

    def in_a_terminal(self, *arguments: str, columns: int = 100, **more: str) -> Shown:
        """A run that somebody looks at."""
        return run_in_terminal(
            self.command(*arguments),
            columns=columns,
            folder=self.folder,
            environment=self.environment(more),
            timeout_s=PLAYBOOK_TIMEOUT_S,
        )


def missing(output: str, expected: Mapping[str, int] = ONCE) -> dict[str, int]:
    """Words that are there another number of times than they should: how often they are."""
    found = {word: sum(word == part for part in _words(output)) for word in expected}
    return {word: number for word, number in found.items() if number != expected[word]}


def _words(output: str) -> list[str]:
    return "".join(letter if letter.isalnum() or letter == "_" else " " for letter in output).split()
