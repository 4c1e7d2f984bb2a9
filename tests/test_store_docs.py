"""The description of the files names every field and column there is."""

import re
from pathlib import Path

import pytest

from latent_memory_plugin.records import Latent, Standing, Use
from latent_memory_plugin.store.database import Database

PAGE = Path(__file__).parents[1] / "docs" / "file-format.md"


def first_column(heading: str) -> list[str]:
    """The names in the first column of the table under this heading row."""
    rows = PAGE.read_text().partition(f"| {heading} |")[2].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)


@pytest.mark.parametrize(
    ("heading", "kind"),
    [("field of `record`", Latent), ("field of a standing", Standing), ("field of a use", Use)],
)
def test_every_field_of_a_record_on_the_disk_is_described(
    heading: str, kind: type[Latent] | type[Standing] | type[Use]
) -> None:
    assert first_column(heading) == list(kind.model_fields)


@pytest.mark.parametrize("table", ["episodes", "standings", "uses", "queue", "claims", "evictions", "changes"])
def test_every_column_of_the_journal_is_described(tmp_path: Path, table: str) -> None:
    database = Database(tmp_path / "journal.sqlite", "default")
    columns = [row[1] for row in database.rows(f"PRAGMA table_info({table})")]
    database.close()
    assert first_column(f"column of `{table}`") == columns
