"""Measure again and write RESULTS.md: `make bench`, or `python -m benchmarks [NAME ...]`.

Each script prints one section of Markdown; a section that is not measured again stays as it is. `make bench` leaves
out what takes long or needs another machine (`BY_NAME_ONLY`).
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

SCRIPTS = (
    "loss_step",
    "training_speed",
    "reference_loop",
    "augmentation",
    "methods",
    "packed_images",
    "start_up",
    "orchestration",
    "stock_tune",
    "tracking",
    "tracking_share",
    "report",
    "dashboard",
    "frameworks",
    "outage",
    "tables",
    "growth",
    "scaling",
    "search_regret",
    "gpu_table2",
    "chaos",
)
BY_NAME_ONLY = {  # each takes minutes; together with them `make bench` would take more than ten
    "reference_loop",
    "methods",
    "orchestration",
    "stock_tune",
    "tracking_share",
    "report",
    "dashboard",
    "frameworks",  # and asks the package index
    "outage",
    "tables",
    "scaling",
    "search_regret",
    "gpu_table2",  # and needs a GPU
    "chaos",
}
RESULTS = Path(__file__).with_name("RESULTS.md")
HEADER = """\
# Results

Figures measured by the scripts beside this file, each as its own process. `make bench` measures the short ones again,
`python -m benchmarks NAME` any of them. Ratios compare things inside one run on one machine. A target is what the
project asks of itself. A commit that the history does not show was folded into the one after it.
"""


def main() -> None:
    sections = read_sections()
    for name in sys.argv[1:] or [name for name in SCRIPTS if name not in BY_NAME_ONLY]:
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        sections[name] = f"<!-- {name} -->\n{done.stdout.strip()}\n\n{circumstances()}\n"
        print(sections[name])
        RESULTS.write_text(HEADER + "\n" + "\n".join(sections[key] for key in SCRIPTS if key in sections))


def read_sections() -> dict[str, str]:
    """The sections of RESULTS.md by the script that wrote them."""
    if not RESULTS.exists():
        return {}
    _, *parts = re.split(r"^<!-- (\w+) -->\n", RESULTS.read_text(), flags=re.MULTILINE)
    return {name: f"<!-- {name} -->\n{text.rstrip()}\n" for name, text in zip(parts[::2], parts[1::2], strict=True)}


def circumstances() -> str:
    """Where, when and with what the figures were measured."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "ray", "mlflow", "pandas"))
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Measured {datetime.now(UTC):%Y-%m-%d} at commit {commit.stdout.strip() or 'unknown'} on {psutil.cpu_count()} "
        f"cores ({cpu}), {memory:.0f} GiB, {gpus()}; Python {platform.python_version()}, {versions}."
    )


def gpus() -> str:
    """The GPUs that torch sees; asked in a process of its own, which takes its memory on them along."""
    script = "import torch; print(*map(torch.cuda.get_device_name, range(torch.cuda.device_count())), sep=', ')"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip() or "no GPU"


if __name__ == "__main__":
    main()
