"""What every bench of the core shares: arguments, percentiles, samples on disk, the machine's name."""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path


def arguments(description: str) -> argparse.ArgumentParser:
    """``--json`` and ``--raw DIR``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="write every sample there")
    return parser


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` of ``ordered`` (ascending) do not exceed."""
    return ordered[max(0, min(len(ordered) - 1, -int(-share * len(ordered) // 1) - 1))]


def write_raw(
    folder: Path | None, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    """One CSV file of samples, if ``--raw`` was given."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def machine() -> str:
    """Processor, number of cores and Python, for the record beside the figures."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        names = [line for line in lines if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"


def report(figures: Mapping[str, object], *, as_json: bool) -> None:
    """A table, or one JSON object on the last line."""
    if as_json:
        print(json.dumps(figures))
        return
    width = max(len(key) for key in figures)
    for key, value in figures.items():
        print(f"{key:<{width}}  {value:.3f}" if isinstance(value, float) else f"{key:<{width}}  {value}")
