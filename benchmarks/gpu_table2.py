"""One GPU in one bounded call: are the losses right there, how fast is it, and as much of Table II as there is time.

    python -m benchmarks.gpu_table2 pack STUDY_FILE PACK     where ccar and the images are: trials and images, one file
    python -m benchmarks.gpu_table2 run PACK TRIALS.json [--seconds 540]                            where the GPU is
    ccar import TRIALS.json && ccar report STUDY_FILE                                          where ccar is, again

`run` needs torch, torchvision, pydantic and, of ccar, what lies below its store and the format of the file: no Ray, no
MLflow, no store. It prints its section of RESULTS.md. Losses on the GPU are compared with float64 on the CPU first;
where they disagree, nothing is trained. Trials come in the order of `FIRST` at imbalance factor 100, all seeds of one
method before the next. A trial that would not end in time is not begun; one that fails is told with its error. Called
again with the same TRIALS.json it goes on.

Without arguments it trains nothing and says what has not been measured.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.loss_step import long_tail, obvious_ccar
from benchmarks.reference_loop import PilImages, training_step
from benchmarks.trial_pack import TrialPack, read_pack, write_pack
from ccar.data.long_tail import data_fingerprint, split_long_tailed
from ccar.errors import Diverged
from ccar.losses import LOSSES, BaseLoss, build_loss
from ccar.store.key import digest_of_parts, key_parts
from ccar.store.place import facts_of_this_place
from ccar.store.trial_file import TrainedTrial, read_trials, write_trials
from ccar.training.config import TrialConfig
from ccar.training.loop import Training

FIRST = (
    "cross_entropy",
    "focal",
    "logit_adjustment",
    "balanced_softmax",
    "cross_entropy+ccar(omega=0.75)",
    "logit_adjustment+ccar(omega=0.75)",
    "balanced_softmax+ccar(omega=0.75)",
)
FIRST_FACTOR = 100
CPUS = len(os.sched_getaffinity(0))
AT_ONCE = [count for count in (1, 2, 4, 8) if count <= CPUS]  # processes that share the device
SHAPES = ((512, 100), (256, 1000), (256, 8142))
TOLERANCE = 1e-4  # of the largest value: float32 has 6e-8, and losses of 8,142 classes sum many of them
REWEIGHTING = {"omega": 0.75}
LAST_SECONDS = 10.0  # for the last trial's test, and to write the file
BARRIER_SECONDS = 120.0  # for the slowest first epoch; who fails in it breaks the barrier at once

Step = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Pack, run, or say what is not measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    packing = commands.add_parser("pack", help="write trials and images into one file")
    packing.add_argument("study", type=Path)
    packing.add_argument("pack", type=Path)
    running = commands.add_parser("run", help="check, measure, train")
    running.add_argument("pack", type=Path)
    running.add_argument("trials", type=Path)
    running.add_argument("--seconds", type=float, default=540.0, help="time in all (default: %(default)s)")
    running.add_argument(
        "--measuring", type=float, default=180.0, help="of them before training (default: %(default)s)"
    )
    running.add_argument("--device", default="cuda", help="cpu: to try it out (default: %(default)s)")
    given = parser.parse_args()
    if given.command == "pack":
        pack(given.study, given.pack)
        return
    print("## One GPU (`python -m benchmarks.gpu_table2`)\n")
    if given.command == "run":
        run(given.pack, given.trials, given.seconds, given.measuring, given.device)
    else:
        why = "they take a pack and minutes" if torch.cuda.is_available() else "no GPU was at hand"
        print(f"Losses, training loop, trials at once and Table II on a GPU: not measured, {why}.")


def pack(study_file: Path, out: Path) -> None:
    """Write the trials of a study and their images; not those that start from the network of another trial."""
    from ccar.cli.options import DEFAULT_STORE
    from ccar.cli.places import Places
    from ccar.study.definition import load_study
    from ccar.study.expansion import PlannedTrial, load_data, plan_trials

    def rank(trial: PlannedTrial) -> tuple[bool, int]:
        method = trial.cell.method
        return trial.config.data.imbalance_factor != FIRST_FACTOR, (*FIRST, method).index(method)

    study = load_study(study_file)
    source = load_data(study, Places.of(DEFAULT_STORE, None).cache_dir)
    trials = sorted((trial for trial in plan_trials(study, source) if trial.stage_one_key is None), key=rank)
    write_pack(out, [trial.config for trial in trials], source)
    print(f"{out}: {len(trials)} trials, {out.stat().st_size / 2**20:.1f} MiB")


def run(pack_file: Path, trials_file: Path, seconds: float, measuring: float, device_name: str) -> None:
    """All of it, in `seconds`; prints Markdown and writes `trials_file`."""
    end = time.time() + seconds - LAST_SECONDS
    device = torch.device(device_name)
    pack = read_pack(pack_file)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU alone, to try it out"
    print(
        f"{name}, {CPUS} CPUs; torch {torch.__version__}, Python {platform.python_version()}; {seconds:.0f} s in all.\n"
    )
    check_losses(device)
    time_losses(device, measuring / 3, end)
    time_loops(pack, device, measuring / 3)
    context = multiprocessing.get_context("spawn")
    barriers = {count: context.Barrier(count) for count in AT_ONCE}
    with ProcessPoolExecutor(max(AT_ONCE), context, start, (pack_file, device_name, barriers)) as workers:
        at_once = time_at_once(workers, measuring / 3)
        train(workers, pack, trials_file, at_once, end)


def check_losses(device: torch.device) -> None:
    """Every loss and its gradient, plain and re-weighted, float32 on the device against float64 on the CPU.

    Raises:
        SystemExit: they disagree.
    """
    generator = torch.Generator().manual_seed(0)
    worst, where = 0.0, ""
    for num_classes in (10, 100, 1000):
        counts = long_tail(num_classes)
        labels = torch.randint(num_classes, (256,), generator=generator)
        random = 3 * torch.randn(256, num_classes, generator=generator)
        for name in LOSSES:
            for reweighting in (None, REWEIGHTING):
                # One for each side: GALA remembers what it has seen.
                loss, other_loss = (build_loss(name, counts, reweighting=reweighting) for _ in range(2))
                logits = random / (loss.base.scale if isinstance(loss.base, BaseLoss) else 1)
                exact = loss_and_gradient(loss, logits.double(), labels)
                here = loss_and_gradient(other_loss.to(device), logits.to(device), labels.to(device))
                for one, other in zip(here, exact, strict=True):
                    off = ((one.cpu().double() - other).abs().max() / other.abs().max()).item()
                    if not off <= worst:  # NaN too
                        worst, where = off, f"{name}{' + CCAR' if reweighting else ''}, {num_classes} classes"
    agree = worst <= TOLERANCE
    print(
        f"Losses and gradients in float32 against float64 on the CPU, {len(LOSSES)} losses with and without CCAR: off "
        f"by {worst:.1e} of the largest value at most ({where}); at most {TOLERANCE:g} is right."
    )
    if not agree:
        raise SystemExit("losses DISAGREE with float64 on the CPU: nothing is trained")


def loss_and_gradient(loss: Step, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert logits.grad is not None
    return value.detach(), logits.grad


def time_losses(device: torch.device, seconds: float, end: float) -> None:
    """Forward and backward, each in turn with `F.cross_entropy`; what the compiler leaves no time for is not timed.

    Args:
        device: where.
        seconds: for all of them, without what the compiler takes.
        end: no later than this (Unix time).
    """
    shapes = SHAPES if device.type == "cuda" else SHAPES[:1]
    types = (torch.float32, torch.bfloat16)
    print("\n| (N, K) | type | loss | us | cross-entropy us | ratio | n |\n|---|---|---|---|---|---|---|")
    for shape in shapes:
        counts = long_tail(shape[1]).to(device)
        for dtype in types:
            logits = (3 * torch.randn(shape, device=device)).to(dtype).requires_grad_()
            labels = torch.randint(shape[1], shape[:1], device=device)
            losses: dict[str, Step] = {
                "obvious autograd CCAR": obvious_ccar(counts),
                "cross_entropy + CCAR": build_loss("cross_entropy", counts, reweighting=REWEIGHTING).to(device),
                "logit_adjustment + CCAR": build_loss("logit_adjustment", counts, reweighting=REWEIGHTING).to(device),
            }
            if device.type == "cuda":  # the compiler makes fused Triton kernels of what autograd is given
                losses["obvious autograd CCAR, compiled"] = torch.compile(obvious_ccar(counts), dynamic=False)
                losses["F.cross_entropy, compiled"] = torch.compile(F.cross_entropy, dynamic=False)
            for name, step in losses.items():
                share = min(seconds / (len(shapes) * len(types) * len(losses)), end - time.time())
                row = f"| {shape} | {str(dtype).removeprefix('torch.')} | {name}"
                if share <= 0:
                    print(f"{row} | no time left | | | |")
                    continue
                try:
                    own, other = in_turns(step, logits, labels, share)
                except Exception as error:  # what the compiler cannot do is a result, too
                    print(f"{row} | {type(error).__name__} | | | |")
                    continue
                ratio = statistics.median(a / b for a, b in zip(own, other, strict=True))
                figures = f"{1e6 * statistics.median(own):.0f} | {1e6 * statistics.median(other):.0f}"
                print(f"{row} | {figures} | {ratio:.2f} | {len(own)} |")


def in_turns(step: Step, logits: Tensor, labels: Tensor, seconds: float) -> tuple[list[float], list[float]]:
    """Seconds of one forward and backward pass, of `step` and of cross-entropy, without the first ones."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        timed(step, logits, labels)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for each, found in zip((step, F.cross_entropy), times, strict=True):
            found.append(timed(each, logits, labels))
    return times


def timed(step: Step, logits: Tensor, labels: Tensor, repeats: int = 20) -> float:
    """Seconds per pass; on a GPU between two events, so that passes follow each other as in training."""
    if logits.device.type == "cuda":
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
    began = time.perf_counter()
    for _ in range(repeats):
        logits.grad = None
        step(logits, labels).backward()
    if logits.device.type == "cuda":
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1e3 / repeats
    return (time.perf_counter() - began) / repeats


def time_loops(pack: TrialPack, device: torch.device, seconds: float) -> None:
    """Images per second of the loop people start from, of ccar's, and of the network alone."""
    config = pack.trials[0]
    speeds = {
        "reference loop": reference_loop(pack, config, device, seconds / 3),
        "ccar, one trial": training_speed(pack, config, device, seconds / 3),
        "floor: ResNet-32 alone, float32": network_alone(pack, config, device, seconds / 3),
    }
    reference = speeds["reference loop"]
    print(f"\nBatches of {config.recipe.batch_size}; target: 15 times the reference loop.\n")
    print("| loop | images/s | times the reference |\n|---|---|---|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:,.0f} | {speed / reference:.1f} |")


def reference_loop(pack: TrialPack, config: TrialConfig, device: torch.device, seconds: float) -> float:
    """PIL images by worker processes, the loss read at every step; the first epoch starts the workers."""
    train = pack.source.train[split_long_tailed(pack.source.train.labels, config.data, config.seed).train]
    batch = min(config.recipe.batch_size, len(train))
    images = PilImages(train.pixels, train.labels)
    loader = DataLoader(
        images, batch_size=batch, shuffle=True, drop_last=True, num_workers=CPUS, persistent_workers=True
    )
    step, seen, end = training_step(str(device)), 0, None
    while end is None or time.perf_counter() < end:
        for pixels, labels in loader:
            step(pixels.to(device), labels.to(device)).item()
            if end is not None:
                seen += len(labels)
                if time.perf_counter() > end:
                    break
        if end is None:
            began = time.perf_counter()
            end = began + seconds
    return seen / (time.perf_counter() - began)


def training_speed(pack: TrialPack, config: TrialConfig, device: torch.device, seconds: float) -> float:
    """Of whole epochs, without the first one; validation is not in it."""
    end, speeds = time.perf_counter() + seconds, []
    for epoch in training_of(pack, config, device).epochs():
        speeds.append(epoch.images_per_second or 0.0)
        if time.perf_counter() > end and len(speeds) > 1:
            break
    return statistics.median(speeds[1:] or speeds)


def network_alone(pack: TrialPack, config: TrialConfig, device: torch.device, seconds: float) -> float:
    """Forward and backward pass and SGD step on a batch that lies on the device."""
    batch = config.recipe.batch_size
    pixels = torch.randn(batch, 3, 32, 32, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(len(pack.source.class_names), (batch,), device=device)
    step, steps = training_step(str(device)), 0
    step(pixels, labels).item()
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        for _ in range(5):
            loss = step(pixels, labels)
        loss.item()
        steps += 5
    return steps * batch / (time.perf_counter() - began)


def training_of(pack: TrialPack, config: TrialConfig, device: torch.device) -> Training:
    split = split_long_tailed(pack.source.train.labels, config.data, config.seed)
    return Training(config, pack.source, split, device=device)


class Here:
    """What a worker process knows: set once, when it starts."""

    pack: TrialPack
    device: torch.device
    barriers: dict[int, Any]


def start(pack_file: Path, device_name: str, barriers: dict[int, Any]) -> None:
    """A worker process begins."""
    Here.pack, Here.device, Here.barriers = read_pack(pack_file), torch.device(device_name), barriers


def time_at_once(workers: ProcessPoolExecutor, seconds: float) -> int:
    """How many processes on the device do most together; returns that number, 1 where all fail."""
    print("\n| trials at once, a process each | images/s together | slowest of them |\n|---|---|---|")
    totals = {}
    for count in AT_ONCE:
        futures = [workers.submit(speed_beside_others, count, seconds / len(AT_ONCE)) for _ in range(count)]
        wait(futures)
        failures = [error for future in futures if (error := future.exception()) is not None]
        if failures:  # out of memory; the others then wait in vain, which is no news
            cause = next((error for error in failures if not isinstance(error, BrokenBarrierError)), failures[0])
            print(f"| {count} | {in_a_cell(cause)} | |")
            continue
        speeds = [future.result() for future in futures]
        totals[count] = sum(speeds)
        print(f"| {count} | {sum(speeds):,.0f} | {min(speeds):,.0f} |")
    return max(totals, key=lambda count: totals[count], default=1)


def speed_beside_others(at_once: int, seconds: float) -> float:
    """Images per second of a trial while the other processes train theirs; the first epoch warms up."""
    torch.set_num_threads(max(1, CPUS // at_once))
    barrier = Here.barriers[at_once]
    try:
        epochs = training_of(Here.pack, Here.pack.trials[0], Here.device).epochs()
        next(epochs)
        barrier.wait(BARRIER_SECONDS)
    except BaseException:
        barrier.abort()  # or the others would wait
        raise
    began, images = time.perf_counter(), 0.0
    for epoch in epochs:
        images += (epoch.images_per_second or 0.0) * epoch.seconds
        if time.perf_counter() > began + seconds:
            break
    return images / (time.perf_counter() - began)


def train(workers: ProcessPoolExecutor, pack: TrialPack, out: Path, at_once: int, end: float) -> None:
    """Train until `end` (Unix time); `out` has every trial that has ended, also when this process is killed."""
    trained = read_trials(out) if out.exists() else []
    known = {trial.key for trial in trained}
    left = [config for config in pack.trials if digest_of_parts(parts_of(pack, config)) not in known]
    began, longest, waiting = time.time(), 0.0, deque(left)
    running: dict[Future[TrainedTrial | None], TrialConfig] = {}
    failed: list[tuple[TrialConfig, BaseException]] = []
    while running or (waiting and time.time() + longest < end):
        while waiting and len(running) < at_once and time.time() + longest < end:
            config = waiting.popleft()
            running[workers.submit(train_one, config, max(1, CPUS // at_once), end)] = config
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            config, error = running.pop(future), future.exception()
            if error is not None:
                failed.append((config, error))
                if isinstance(error, BrokenProcessPool):  # a process was killed, and the pool takes no more
                    waiting.clear()
            elif (trial := future.result()) is not None:
                trained.append(trial)
                longest = max(longest, sum(epoch.seconds for epoch in trial.epochs))
                write_trials(out, trained)
    new = trained[len(known) :]
    per_hour = 3600 * len(new) / (time.time() - began)
    print(f"\n{len(new)} of {len(left)} trials trained, {at_once} at once, {per_hour:.0f} an hour:\n")
    print("| trial | seed | seconds | target, s | test accuracy, % |\n|---|---|---|---|---|")
    for trial in new:
        accuracy = f"{100 * trial.test.last_epoch.accuracy:.2f}" if trial.test else trial.error
        seconds = sum(epoch.seconds for epoch in trial.epochs)
        print(f"{row_of(trial.config)} | {seconds:.1f} | 60 | {accuracy} |")
    for config, error in failed:
        print(f"{row_of(config)} | | 60 | {in_a_cell(error)} |")


def row_of(config: TrialConfig) -> str:
    method = config.loss.name + (f" + CCAR({config.reweighting.omega:g})" if config.reweighting else "")
    return f"| IF {config.data.imbalance_factor:g}, {method} | {config.seed}"


def in_a_cell(error: BaseException) -> str:
    """The first line of an error, without what would end a cell of a table."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}".replace("|", "/")[:200]


def parts_of(pack: TrialPack, config: TrialConfig) -> dict[str, Any]:
    """What the trial's key digests."""
    split = split_long_tailed(pack.source.train.labels, config.data, config.seed)
    return key_parts(config, data_fingerprint(pack.source.fingerprint, split))


def train_one(config: TrialConfig, threads: int, end: float) -> TrainedTrial | None:
    """One trial to its end; None where it would not come to it in time."""
    torch.set_num_threads(threads)
    parts = parts_of(Here.pack, config)
    training, epochs = training_of(Here.pack, config, Here.device), []
    test = error = None
    try:
        for epoch in training.epochs():
            epochs.append(epoch)
            if time.time() > end:
                return None
        test = training.test()
    except Diverged as diverged:
        error = str(diverged)
    return TrainedTrial(
        key=digest_of_parts(parts),
        config=config,
        parts=parts,
        class_counts=split_long_tailed(Here.pack.source.train.labels, config.data, config.seed).class_counts,
        worker={"host": platform.node(), **facts_of_this_place(Here.device, threads)},
        epochs=tuple(epochs),
        test=test,
        error=error,
    )


if __name__ == "__main__":
    main()
