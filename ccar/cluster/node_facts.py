"""What `ccar doctor` asks a machine about itself. Runs on every node of a cluster, and knows nothing of Ray."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ccar.errors import CcarError, StoreError
from ccar.store.address import folder_at
from ccar.store.folder import Folder
from ccar.store.key import code_digest

DRIVER_PROBE = "driver"
THIS_MACHINE = "this machine"

_PACKAGES = ("ray", "torch", "numpy", "torchvision")
_SHARED_MEMORY = Path("/dev/shm")
_SECONDS_FOR_GPUS = 60.0  # torch is imported
_GPU_CODE = (
    "import json, torch; print(json.dumps([torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One machine, as far as training on it is concerned."""

    name: str
    python: str
    packages: Mapping[str, str]  # version by name; without those that are not installed
    code: str  # digest of the training code
    gpus: tuple[str, ...] | None  # names; None: torch cannot be asked, `gpu_error` says why
    gpu_error: str | None
    store_error: str | None  # why the store cannot be written; None when it can
    sees_store_of_driver: bool  # whether the driver's probe file is there: the folder is one and the same
    free_store_bytes: int | None  # None: in a bucket nobody counts
    free_temporary_bytes: int
    free_shared_memory_bytes: int | None  # None: there is no /dev/shm


def gather_facts(name: str, probes: str, *, has_gpus: bool) -> NodeFacts:
    """Look at this machine, and write a probe file called `name` into the folder.

    Args:
        name: of the node, fit for a file name.
        probes: address of a folder in the store; made by the driver, with a file `DRIVER_PROBE` in it.
        has_gpus: whether to ask torch for them, which takes seconds.
    """
    gpus, gpu_error = _gpus() if has_gpus else ((), None)
    sees_store, store_error, free_store_bytes = _store_facts(name, probes)
    return NodeFacts(
        name=name,
        python=platform.python_version(),
        packages=_versions(),
        code=code_digest(),
        gpus=gpus,
        gpu_error=gpu_error,
        sees_store_of_driver=sees_store,
        store_error=store_error,
        free_store_bytes=free_store_bytes,
        free_temporary_bytes=_free_bytes(Path(tempfile.gettempdir())),
        free_shared_memory_bytes=_free_bytes(_SHARED_MEMORY) if _SHARED_MEMORY.is_dir() else None,
    )


def machine_facts(probes: str) -> NodeFacts:
    """The facts of the machine that this process runs on."""
    return gather_facts(THIS_MACHINE, probes, has_gpus=may_have_gpus())


@contextmanager
def probe_folder(store: str) -> Iterator[Folder]:
    """A folder in the store, or where the store would be made, that nobody else has; gone after the block.

    If it cannot be made, the block sees a folder that does not exist, and the checks of the store will say so.
    """
    folder = folder_at(store).nearest().folder(f".ccar-doctor.{uuid.uuid4().hex}")
    with suppress(StoreError):
        folder.replace(DRIVER_PROBE, b"")
    try:
        yield folder
    finally:
        with suppress(StoreError):
            folder.clear()


def may_have_gpus() -> bool:
    """Whether this machine looks as if it had a GPU of NVIDIA's; costs nothing."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def software() -> Mapping[str, str]:
    """What must be the same on all nodes of a cluster: Python, packages, the training code; versions by name."""
    return {"python": platform.python_version(), **_versions(), "code of ccar": code_digest()[:12]}


def differences(wanted: Mapping[str, str], there: Mapping[str, str]) -> str:
    """In words, what is not as wanted; empty when nothing."""
    return ", ".join(
        f"{name} {there.get(name, 'missing')} instead of {wanted.get(name, 'none')}"
        for name in {**wanted, **there}
        if wanted.get(name) != there.get(name)
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _gpus() -> tuple[tuple[str, ...] | None, str | None]:
    """Ask a process of its own: Ray hides the GPUs from tasks that ask for none."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _GPU_CODE],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS_FOR_GPUS,
        )
    except subprocess.TimeoutExpired:
        return None, f"torch did not tell within {_SECONDS_FOR_GPUS:.0f} s"
    if done.returncode != 0:
        return None, (done.stderr.strip().splitlines() or ["torch died"])[-1]
    return tuple(json.loads(done.stdout.splitlines()[-1])), None


def _store_facts(name: str, probes: str) -> tuple[bool, str | None, int | None]:
    """Whether the driver's probe is there, why the store cannot be written, and what fits in yet."""
    sees_store, free = False, None
    try:
        folder = folder_at(probes)
        free = folder.free_bytes()
        sees_store = folder.exists(DRIVER_PROBE)
        if not sees_store:
            return False, f"{folder} is not here: the driver cannot write it, or this is another store", free
        folder.create(name, b"")  # as trials are committed
    except CcarError as error:
        return sees_store, str(error), free
    return sees_store, None, free


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
