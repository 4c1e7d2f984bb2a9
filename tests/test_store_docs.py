"""The description of the files names every field and column there is."""

import re
from pathlib import Path

from latent_memory_plugin.records import Latent
from latent_memory_plugin.store.journal import Journal

PAGE = Path(__file__).parents[1] / "docs" / "file-format.md"


def first_column(heading: str) -> list[str]:
    """The names in the first column of the table under this heading row."""
    rows = PAGE.read_text().partition(f"| {heading} |")[2].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)


def test_every_field_of_a_latent_file_is_described() -> None:
    assert first_column("field of `record`") == list(Latent.model_fields)


def test_every_column_of_the_journal_is_described(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite", "default")
    columns = [row[1] for row in journal._rows("PRAGMA table_info(episodes)")]
    journal.close()
    assert first_column("column of `episodes`") == columns
