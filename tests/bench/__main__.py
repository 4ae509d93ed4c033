"""`python -m tests.bench`: how fast the service is, beside its peers and limits, in one run on one machine.

Everything happens on loopback; databases are made for the run and taken away after it. Other work on the machine shows
in the figures: they are meant as ratios of what ran side by side.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import asking, ingest, inventory, pages, sweeping
from tests.bench.figures import Report
from tests.bench.house import ROOT, Bench

if TYPE_CHECKING:
    from collections.abc import Callable

_PARTS: dict[str, Callable[[Bench], None]] = {
    "ingest": ingest.measure_ingest,
    "burst": ingest.measure_burst,
    "sweep": sweeping.measure_sweep,
    "rules": inventory.measure_rules,
    "preview": inventory.measure_preview,
    "lists": inventory.measure_lists,
    "pages": pages.measure_pages,
    "clicking": pages.measure_clicking,
    "forecasts": asking.measure_forecasts,
    "scrapes": asking.measure_scrapes,
    "start": inventory.measure_start,
}


def main() -> int:
    """Measure; 1 if an aim was missed."""
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(_PARTS)} (default: all of them)")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--scale", choices=("small", "full"), default="full", help="full: a million files, 20 minutes")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    chosen = parser.parse_args()
    parts = chosen.parts or list(_PARTS)
    if unknown := set(parts) - set(_PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    report = Report({"scale": chosen.scale, "cores": os.cpu_count(), "load_before": os.getloadavg()[0]})
    report.start()
    os.chdir(ROOT)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zego-bench-")))
        bench = Bench(folder, chosen.scale == "full", report, stack)
        for kind in ("sqlite", "postgresql") if chosen.database == "both" else (chosen.database,):
            bench.kind = kind
            for part in parts:
                if part != "start" or kind == "sqlite" or chosen.database != "both":  # it hardly sees the database
                    _PARTS[part](bench)
                    report.write(chosen.output)
    print(f"written to {chosen.output}")
    return int(any(figure.is_met is False for figure in report.figures))


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)
    raise SystemExit(main())
