"""The table of docs/checklist.md: for each item what a test damages, made from the tests.

``python -m tests.checklist_document`` writes it anew.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/checklist.md"
BEGIN, END = "<!-- controls: made by python -m tests.checklist_document -->", "<!-- end of controls -->"
#: Each holds CONTROLS, a list of :class:`tests.checklist_control.Control`.
MODULES = (
    "tests.integration.test_checklist_controls",
    "tests.integration.test_checklist_application_controls",
)


def table() -> str:
    """The table as Markdown; items in the order in which the tests have them."""
    found: dict[str, list[str]] = {}
    for name in MODULES:
        if importlib.util.find_spec(name):
            for control in importlib.import_module(name).CONTROLS:
                also = f" (also red: {', '.join(control.also)})" if control.also else ""
                found.setdefault(control.item, []).append(f"{control.damage}{also}")
    rows = [f"| `{item}` | {'<br>'.join(damages)} |" for item, damages in found.items()]
    return "\n".join(["| Item | What a test damages, and exactly this item turns red |", "|---|---|", *rows])


def with_table(text: str) -> str:
    """A document with the table between its marks."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    import ansible.module_utils

    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
    sys.path.insert(0, str(ROOT))
    DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
