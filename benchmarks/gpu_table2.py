"""One GPU in one bounded call: are the losses right there, how fast is it, and as much of Table II as there is time.

    python -m benchmarks.gpu_table2 pack STUDY_FILE PACK [--factors 100] [--seeds 0]     where ccar and the images are
    python -m benchmarks.gpu_table2 run PACK TRIALS.json [--seconds 540]                            where the GPU is
    ccar import TRIALS.json && ccar report STUDY_FILE                                          where ccar is, again

`run` needs torch, torchvision, Pillow, pydantic and, of ccar, what lies below its store and the format of the file: no
Ray, no MLflow, no store. It prints its section of RESULTS.md, line by line. Losses on the GPU are compared with float64
on the CPU first; where they disagree, the rest is measured all the same, but nothing is trained. Whether training keeps
its promises there comes next, then what it costs, in processes of their own, which end with their time and take nothing
down with them. Trials come in the order of `FIRST` at imbalance factor 100, all seeds of one method before the next, as
many at once as lets most of them end in time. A trial that would not end in time, by what was measured, is not begun;
one that fails is told with its error. Called again with the same TRIALS.json it goes on; `--measuring 0 --at-once N`
then spends all of the time on trials.

Without arguments it trains nothing and says what has not been measured.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import platform
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import torch

from benchmarks.cells import in_a_cell
from benchmarks.gpu_check import check_training
from benchmarks.gpu_losses import check_losses, time_losses
from benchmarks.gpu_training import (
    images_of_a_trial,
    split_of,
    time_in_one_process,
    time_loops,
    training_of,
    trials_an_hour,
)
from benchmarks.side_by_side_models import BARRIER_SECONDS, images_per_second, raise_cause
from benchmarks.trial_pack import TrialPack, read_pack, write_pack
from ccar.data.long_tail import data_fingerprint
from ccar.errors import Diverged
from ccar.machine import num_cpus
from ccar.store.key import digest_of_parts, key_parts
from ccar.store.place import facts_of_this_place
from ccar.store.trial_file import TrainedTrial, read_trials, write_trials
from ccar.training.config import TrialConfig

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
CPUS = num_cpus()
AT_ONCE = [count for count in (1, 2, 4, 8) if count <= CPUS]  # processes that share the device
LAST_SECONDS = 10.0  # for the last trial's test, and to write the file
GRACE_SECONDS = 60.0  # for a process to start, and for the compiler to end what it has begun


def main() -> None:
    """Pack, run, or say what is not measured."""
    # cuBLAS reads it when it starts; processes that are started here have it too.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    packing = commands.add_parser("pack", help="write trials and images into one file")
    packing.add_argument("study", type=Path)
    packing.add_argument("pack", type=Path)
    packing.add_argument("--factors", type=float, nargs="+", help="these imbalance factors alone (default: all)")
    packing.add_argument("--seeds", type=int, nargs="+", help="these seeds alone (default: all)")
    running = commands.add_parser("run", help="check, measure, train")
    running.add_argument("pack", type=Path)
    running.add_argument("trials", type=Path)
    running.add_argument("--seconds", type=float, default=540.0, help="time in all (default: %(default)s)")
    running.add_argument(
        "--measuring", type=float, default=240.0, help="of them before training; 0: none (default: %(default)s)"
    )
    running.add_argument("--at-once", type=int, help="trials that share the device (default: as measured, or 1)")
    running.add_argument("--device", default="cuda", help="cpu: to try it out (default: %(default)s)")
    given = parser.parse_args()
    if given.command == "pack":
        pack(given.study, given.pack, given.factors, given.seeds)
        return
    print("## One GPU (`python -m benchmarks.gpu_table2`)\n")
    if given.command == "run":
        run(given.pack, given.trials, given.seconds, given.measuring, given.at_once, given.device)
    else:
        why = "they take a pack and minutes" if torch.cuda.is_available() else "no GPU was at hand"
        print(f"Losses, training loop, trials at once and Table II on a GPU: not measured, {why}.")


def pack(
    study_file: Path, out: Path, factors: Sequence[float] | None = None, seeds: Sequence[int] | None = None
) -> None:
    """Write the trials of a study and their images; not those that start from the network of another trial.

    Args:
        study_file: whose trials.
        out: the file.
        factors: only trials with one of these imbalance factors; None: all.
        seeds: only trials with one of these seeds; None: all.

    Raises:
        SystemExit: no trial is left.
    """
    from ccar.cli.options import DEFAULT_STORE
    from ccar.cli.places import Places
    from ccar.study.definition import load_study
    from ccar.study.expansion import PlannedTrial, load_data, plan_trials

    def rank(trial: PlannedTrial) -> tuple[bool, int]:
        method = trial.cell.method
        return trial.config.data.imbalance_factor != FIRST_FACTOR, (*FIRST, method).index(method)

    study = load_study(study_file)
    source = load_data(study, Places.of(DEFAULT_STORE, None).cache_dir)
    trials = [
        trial
        for trial in sorted(plan_trials(study, source), key=rank)
        if trial.stage_one_key is None
        and (factors is None or trial.config.data.imbalance_factor in factors)
        and (seeds is None or trial.config.seed in seeds)
    ]
    if not trials:
        raise SystemExit(f"{study_file} has no trial with these factors and seeds")
    write_pack(out, [trial.config for trial in trials], source)
    print(f"{out}: {len(trials)} trials, {out.stat().st_size / 2**20:.1f} MiB")


def run(
    pack_file: Path, trials_file: Path, seconds: float, measuring: float, at_once: int | None, device_name: str
) -> None:
    """All of it, in `seconds`; prints Markdown and writes `trials_file`.

    Raises:
        SystemExit: the losses are wrong on this device.
    """
    print_by_lines()
    end = time.time() + seconds - LAST_SECONDS
    device = torch.device(device_name)
    pack = read_pack(pack_file)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU alone, to try it out"
    print(
        f"{name}, {CPUS} CPUs; torch {torch.__version__}, Python {platform.python_version()}; {seconds:.0f} s in all.\n"
    )
    agree = check_losses(device)
    totals: dict[int, float] = {}
    if measuring > 0:
        part = measuring / 5
        apart(check_training, device_name, seconds=part, end=end)
        apart(time_losses, device_name, seconds=part, end=end)
        apart(time_loops, pack_file, device_name, seconds=part, end=end)
        apart(time_in_one_process, pack_file, device_name, seconds=part, end=end)
        with processes(pack_file, device_name) as workers:
            totals = time_at_once(workers, pack, part, end)
    if not agree:
        raise SystemExit("losses DISAGREE with float64 on the CPU: nothing is trained")
    images = images_of_a_trial(pack, pack.trials[0])
    if at_once is None:
        at_once = best_at_once(totals, images, end - time.time())
    expected = at_once * images / totals[at_once] if at_once in totals else 0.0
    with processes(pack_file, device_name, at_once) as workers:  # others: one that was killed breaks those before
        train(workers, pack, trials_file, at_once, end, expected)


def processes(pack_file: Path, device_name: str, most: int = max(AT_ONCE)) -> ProcessPoolExecutor:
    """As many as may share the device; each starts when there is work for it."""
    context = multiprocessing.get_context("spawn")
    barriers = {count: context.Barrier(count) for count in AT_ONCE}
    return ProcessPoolExecutor(most, context, start, (pack_file, device_name, barriers))


def apart(measure: Callable[..., None], *arguments: object, seconds: float, end: float) -> None:
    """`measure(*arguments, seconds)` in a process of its own: compilers and kernels may hang, or end it.

    Args:
        measure: prints what it finds.
        arguments: its other arguments.
        seconds: what it is told to take. It is ended where it takes `GRACE_SECONDS` more.
        end: when it is ended, at the latest (Unix time).
    """
    sys.stdout.flush()
    process = multiprocessing.get_context("spawn").Process(target=by_lines, args=(measure, *arguments, seconds))
    process.start()
    process.join(max(min(seconds + GRACE_SECONDS, end - time.time()), 0.0))
    if process.is_alive():
        process.kill()
        process.join()
        print("\nEnded here: it took too long.")
    elif process.exitcode:
        print(f"\nEnded here, by an error that no cell could hold (exit code {process.exitcode}).")


def by_lines(measure: Callable[..., None], *arguments: object) -> None:
    print_by_lines()
    measure(*arguments)


def print_by_lines() -> None:
    """What is printed survives the process, however it ends."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


class Here:
    """What a worker process knows: set once, when it starts."""

    pack: TrialPack
    device: torch.device
    barriers: dict[int, Any]


def start(pack_file: Path, device_name: str, barriers: dict[int, Any]) -> None:
    """A worker process begins."""
    Here.pack, Here.device, Here.barriers = read_pack(pack_file), torch.device(device_name), barriers


def time_at_once(workers: ProcessPoolExecutor, pack: TrialPack, seconds: float, end: float) -> dict[int, float]:
    """What processes do together that share the device.

    Args:
        workers: the processes. They are killed where they take too long, so this process has no others by then.
        pack: what they train.
        seconds: for all numbers of them, without their starts.
        end: when the last ends, at the latest (Unix time).

    Returns:
        By how many there are, images per second of all together; without what failed.
    """
    print("\n| trials at once, a process each | images/s together | slowest of them | trials an hour |")
    print("|---|---|---|---|")
    totals: dict[int, float] = {}
    for count in AT_ONCE:
        share = seconds / len(AT_ONCE)
        try:
            futures = [workers.submit(speed_beside_others, count, share) for _ in range(count)]
            if wait(futures, max(min(share + GRACE_SECONDS, end - time.time()), 0.0)).not_done:
                print(f"| {count} | took too long | | |")
                kill_workers()
                break
            raise_cause(futures)  # such as: out of memory
        except Exception as error:
            print(f"| {count} | {in_a_cell(error)} | | |")
            continue
        speeds = [future.result() for future in futures]
        totals[count] = sum(speeds)
        per_hour = trials_an_hour(pack, totals[count])
        print(f"| {count} | {totals[count]:,.0f} | {min(speeds):,.0f} | {per_hour:,.0f} |")
    return totals


def kill_workers() -> None:
    """Those that hang: the pool would wait for them."""
    for process in multiprocessing.active_children():
        process.kill()


def best_at_once(totals: Mapping[int, float], images: int, seconds: float) -> int:
    """How many trials to train at once, so that as many as can be end in time; 1 where nothing is known.

    Args:
        totals: see `time_at_once`.
        images: that one trial trains on.
        seconds: that are left.
    """

    def num_trials(count: int) -> int:
        return count * math.floor(seconds * totals[count] / (count * images))

    return max(totals, key=lambda count: (num_trials(count), -count), default=1)


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
    return images_per_second(epochs, seconds)


def train(
    workers: ProcessPoolExecutor, pack: TrialPack, out: Path, at_once: int, end: float, expected: float = 0.0
) -> None:
    """Train; `out` has every trial that has ended, also when this process is killed.

    Args:
        workers: the processes.
        pack: what to train.
        out: the file.
        at_once: trials.
        end: when the last ends, at the latest (Unix time).
        expected: seconds that a trial is thought to take until one has ended; 0 where that is not known.
    """
    trained = read_trials(out) if out.exists() else []
    known = {trial.key for trial in trained}
    left = [config for config in pack.trials if digest_of_parts(parts_of(pack, config)) not in known]
    began, longest, waiting = time.time(), 0.0, deque(left)
    running: dict[Future[TrainedTrial | None], TrialConfig] = {}
    failed: list[tuple[TrialConfig, BaseException]] = []
    while running or (waiting and time.time() + (longest or expected) < end):
        while waiting and len(running) < at_once and time.time() + (longest or expected) < end:
            config = waiting.popleft()
            running[workers.submit(train_one, config, max(1, CPUS // at_once), end)] = config
        done = wait(running, max(end + LAST_SECONDS - time.time(), 0.0), FIRST_COMPLETED).done
        if not done:
            failed += [(config, TimeoutError("did not end in time")) for config in running.values()]
            kill_workers()
            break
        for future in done:
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
    if waiting:
        seconds = longest or expected
        print(f"{len(waiting)} were not begun: at {seconds:.0f} s each they would not have ended in time.\n")
    print("| trial | seed | seconds | target, s | test accuracy, % |\n|---|---|---|---|---|")
    for trial in new:
        accuracy = f"{100 * trial.test.last_epoch.accuracy:.2f}" if trial.test else trial.error
        seconds = sum(epoch.seconds for epoch in trial.epochs)
        print(f"{row_of(trial.config)} | {seconds:.1f} | 60 | {accuracy} |")
    for config, error in failed:
        print(f"{row_of(config)} | | 60 | {in_a_cell(error)} |")


def row_of(config: TrialConfig) -> str:
    mixing, procedure = config.recipe.mixing, config.procedure.name
    method = [config.loss.name, *([f"CCAR({config.reweighting.omega:g})"] if config.reweighting else [])]
    method += [mixing.name] if mixing else []
    method += [procedure] if procedure != "end_to_end" else []
    return f"| IF {config.data.imbalance_factor:g}, {' + '.join(method)} | {config.seed}"


def parts_of(pack: TrialPack, config: TrialConfig) -> dict[str, Any]:
    """What the trial's key digests."""
    split = split_of(pack, config)
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
        class_counts=split_of(Here.pack, config).class_counts,
        worker={"host": platform.node(), **facts_of_this_place(Here.device, threads)},
        epochs=tuple(epochs),
        test=test,
        error=error,
    )


if __name__ == "__main__":
    main()
