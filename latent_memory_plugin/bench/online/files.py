"""The run folder: one file per method, written whole or not at all, and found again only by what asked for it."""

import json
import os
from pathlib import Path
from typing import Any, cast

KEY = "key"


def write(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """Writes JSON under a temporary name and renames it, so that a reader finds the whole or nothing. Returns what a
    reader will find: lists where tuples were."""
    text = json.dumps(report, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_suffix(f".{os.getpid()}.tmp")
    passing.write_text(text, encoding="utf-8")
    passing.replace(path)
    return cast(dict[str, Any], json.loads(text))


def finished(path: Path, key: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier run wrote for the same key; None where there is nothing usable."""
    try:
        read: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(read, dict):
        return None
    report = cast(dict[str, Any], read)
    return report if report.get(KEY) == json.loads(json.dumps(key)) else None
