"""The table of architectures in docs/models.md, measured anew: `python tests/conformance/table.py`."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER), str(FOLDER.parent)]

from architectures import SETTINGS, build  # noqa: E402
from tiny_models import BOS_TEMPLATE, tiny_tokenizer  # noqa: E402

from latent_memory_plugin.bench.conformance import CHECKS, CheckResult, Subject, check  # noqa: E402

PAGE = FOLDER.parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"
COLUMNS = {
    "Latent ≡ tokens": "a Latent of token embeddings equals these tokens",
    "batch ≡ alone": "a row in a padded batch equals the row alone",
    "cache": "with a cache equals without",
    "shared prefill": "a shared prefill equals separate ones",
    "log-prob.": "log-probabilities equal a log-softmax",
    "gradient": "the gradient equals finite differences",
    "bfloat16": "works in bfloat16",
    "float16": "works in float16",
}


def measured(architecture: str) -> list[CheckResult]:
    """Every row of one architecture."""
    subject = Subject.of(build(architecture), tiny_tokenizer(BOS_TEMPLATE, bos=True), architecture)
    return [row for group in CHECKS for row in check(subject, group)]


def lines() -> Iterator[str]:
    """The table as Markdown."""
    yield f"| architecture | passed | failed | skipped | {' | '.join(COLUMNS)} |"
    yield "|---" * (len(COLUMNS) + 4) + "|"
    for architecture in SETTINGS:
        rows = measured(architecture)
        counts = [str(sum(row.outcome == outcome for row in rows)) for outcome in ("passed", "failed", "skipped")]
        numbers = {row.name: row.measured for row in rows}
        cells = ["–" if (one := numbers.get(name)) is None else f"{one:.0e}" for name in COLUMNS.values()]
        yield f"| {architecture} | {' | '.join((*counts, *cells))} |"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    table = "\n".join(lines())
    PAGE.write_text(f"{before}{BEGIN}{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")
