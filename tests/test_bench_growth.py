"""`bench store` on a small namespace: everything it reports is measured."""

import json
from pathlib import Path

from typer.testing import CliRunner

from latent_memory_plugin.cli import app


def test_it_measures_openings_hits_puts_and_listings_of_what_it_has_made(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    arguments = ("bench", "store", "--latents", "200", "--episodes", "40", "--json", str(file))
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert report["list"]["of"] == 220 and report["hit_milliseconds"]["count"] == 1000
    openings = [report[name] for name in ("first_opening", "opening", "opening_after_kill")]
    assert min(one[step]["seconds"] for one in openings for step in ("open", "search", "close")) > 0
    assert report["hit_milliseconds"]["p50"] > 0 and report["put_milliseconds"]["p50"] > 0
    assert min(report["mib"].values()) > 0 and report["resident_mib"] > 10
    assert "first search after a kill" in result.output and "200 Latents, 40 episodes" in result.output
