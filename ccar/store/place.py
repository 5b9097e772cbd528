"""What a trial's numbers may depend on beside its key: the device, the processor, threads and versions."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

import ccar


def facts_of_this_place(device: torch.device, threads: int) -> dict[str, Any]:
    """Kept with every trial that is trained here.

    Args:
        device: that is trained on.
        threads: CPU threads of the process.
    """
    # Of convolutions in float32, as torch calls it: tf32 unless it was told otherwise; older GPUs do not have that.
    precision = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]  # torch's stubs leave it out
    on_gpu = {"convolutions": precision} if device.type == "cuda" else {}
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        **on_gpu,
        "processor": processor(),
        "threads": threads,
        "versions": {
            "ccar": ccar.__version__,  # not the installed one: a study that was submitted brings its own
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("torch", "numpy")},
        },
    }


def processor() -> str:
    """Name of the processor and the instructions that torch uses on it: another one may round otherwise."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{name or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
