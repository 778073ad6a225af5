"""docs/checklist.md says what the tests damage."""

from tests.checklist_document import BEGIN, DOCUMENT, END, table, with_table


def test_the_document_lists_the_controls() -> None:
    """Write it anew with python -m tests.checklist_document."""
    text = DOCUMENT.read_text()
    assert text == with_table(text)
    assert text.count(BEGIN) == text.count(END) == 1


def test_a_document_that_lists_others_is_noticed() -> None:
    text = f"Before\n{BEGIN}\n\n{table()}\n\n{END}\nAfter\n"
    assert with_table(text) == text
    for spoilt in (
        text.replace("a trigger is disabled", "a trigger is enabled"),
        f"Before\n{BEGIN}\n{END}\n",
    ):
        assert with_table(spoilt) != spoilt
