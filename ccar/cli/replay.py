"""`ccar replay`: train one cell again from a report.json alone, in an empty store, and compare."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ccar.cli.progress import ProgressDisplay
from ccar.errors import CcarError, UserError
from ccar.evidence.frames import EVALUATION_METRICS, shown_versions, validation_frame
from ccar.evidence.test_results import test_frame, with_test_results
from ccar.reports.formats.json_file import json_rows
from ccar.reports.neutralise import one_line
from ccar.reports.report_file import CellRow, Report, TrialRow, Value
from ccar.store.key import key_parts
from ccar.store.trial_log import FINAL
from ccar.store.trial_store import TrialStore
from ccar.study.definition import Study, study_of_text
from ccar.study.expansion import (
    Cell,
    PlannedTrial,
    cell_of,
    cells_of,
    fingerprints_of,
    load_data,
    method_of,
    open_cells_of,
    plan_cells,
)
from ccar.study.plan import Difference, differing_parts
from ccar.study.search import GridSource
from ccar.study.stages import InStages
from ccar.study.wording import did_you_mean

_PARTS = ("val_", "val_best_", "test_", "test_best_")
MEASURED = (
    *("status", "epochs", "train_loss", "val_best_epoch"),
    *(f"{part}{metric}" for part in _PARTS for metric in EVALUATION_METRICS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTrial:
    """One seed of a cell, trained again."""

    seed: int
    compared: int  # numbers
    unequal: tuple[Difference, ...]  # the numbers that came out otherwise
    circumstances: tuple[Difference, ...]  # what is not as it was, and may be why


def replay(report: Report, cell: CellRow, seed: int | None, cache_dir: Path, talk: Console) -> list[ReplayedTrial]:
    """Train a cell of a report again.

    Args:
        report: from `read_report`.
        cell: one of its cells, from `find_cell`.
        seed: None for every seed that has ended.
        cache_dir: for decoded images.
        talk: where progress goes.

    Raises:
        UserError: the cell has no such seed, or none that has ended; its study file is not valid here, or its images
            are not at hand, or others.
        CcarError: training failed.
    """
    reported = _ended(report, cell, seed)
    study = study_of_text(report.provenance.study_file, f"{report.study} (study file of the report)")
    images = load_data(study, cache_dir)
    chain = _with_stage_one(study, _cell(study, cell))
    trials = plan_cells(chain, reported, fingerprints_of(study, images))
    own = {trial.seed: trial for trial in trials if trial.cell.id == cell.cell}
    circumstances = {key: _changed_parts(report, cell, reported[key], trial) for key, trial in own.items()}
    with tempfile.TemporaryDirectory(prefix="ccar-replay-") as folder:
        store = TrialStore(Path(folder))
        facts = _train(study, trials, store, cache_dir, talk)
        records = {trial.key: store.read(trial.key) for trial in own.values()}
        tests = {trial.key: store.read_test(trial.key) for trial in own.values()}
    rows = json_rows(with_test_results(validation_frame(own.values(), records), test_frame(tests)))
    ran = {trial.key: trial.model_dump() for trial in report.costs.trials}
    return [
        _compared(
            reported[row["seed"]],
            row,
            (*circumstances[row["seed"]], *_elsewhere(ran.get(reported[row["seed"]].key, {}), facts)),
        )
        for row in rows
    ]


def find_cell(report: Report, wanted: str) -> CellRow:
    """The cell of this id, or the only one of this method.

    Raises:
        UserError: there is none, or there are several.
    """
    for cell in report.cells:
        if cell.cell == wanted:
            return cell
    found = [cell for cell in report.cells if cell.method == wanted]
    if len(found) == 1:
        return found[0]
    ids = [cell.cell for cell in report.cells]
    if found:
        hint = f"say which: {', '.join(cell.cell for cell in found)}"
        raise UserError(f"the report has {wanted!r} in {len(found)} cells", hint=hint)
    hint = did_you_mean(wanted, [*ids, *(cell.method for cell in report.cells)])
    raise UserError(
        f"the report has no cell {wanted!r}", hint=hint or (f"for example {ids[0]!r}" if ids else "it has none")
    )


def replay_text(cell: str, replayed: Sequence[ReplayedTrial]) -> str:
    """The comparison in a few lines per seed: names come from a report of others."""
    lines = []
    for trial in replayed:
        head = f"{one_line(cell)} seed {trial.seed}: {trial.compared} numbers compared"
        if not trial.unequal:
            lines.append(f"{head}, all equal, bit for bit")
            continue
        lines.append(f"{head}, {len(trial.unequal)} differ (report -> here)")
        lines += [f"  {one_line(_shown(difference))}" for difference in trial.unequal]
        lines += [f"  not as it was: {one_line(str(difference))}" for difference in trial.circumstances]
        if not trial.circumstances:
            lines.append("  processor, threads and versions are as they were: something else is not deterministic")
    return "\n".join(lines)


def replay_json(cell: str, replayed: Sequence[ReplayedTrial]) -> dict[str, Any]:
    """The comparison as plain JSON."""
    return {"cell": cell, "equal": not any(trial.unequal for trial in replayed), "trials": [*map(asdict, replayed)]}


def _ended(report: Report, cell: CellRow, seed: int | None) -> dict[int, TrialRow]:
    own = [trial for trial in report.trials if trial.cell == cell.cell]
    if seed is not None and seed not in {trial.seed for trial in own}:
        seeds = ", ".join(str(trial.seed) for trial in own)
        raise UserError(f"{cell.cell} has no seed {seed}", hint=f"choose from {seeds}")
    chosen = [trial for trial in own if seed in (None, trial.seed)]
    ended = {trial.seed: trial for trial in chosen if trial.status in FINAL}
    if not ended:
        raise UserError(
            f"no number of {cell.cell} can be compared: {', '.join(f'seed {t.seed} {t.status}' for t in chosen)}",
            hint="choose a cell whose trials have finished",
        )
    return ended


def _cell(study: Study, wanted: CellRow) -> Cell:
    """The cell as the study file makes it, here and now."""
    cells = {cell.id: cell for cell in cells_of(study)}
    omega = getattr(wanted, "omega", None)
    if isinstance(omega, float):  # perhaps one that a search came up with
        searched = (cell_of(study, each.method.at(omega), each.imbalance_factor) for each in open_cells_of(study))
        cells |= {cell.id: cell for cell in searched}
    if wanted.cell not in cells:
        raise UserError(
            f"the study file of the report makes no cell {wanted.cell!r} with this version of ccar",
            hint="use the version that wrote the report: see its provenance",
        )
    return cells[wanted.cell]


def _with_stage_one(study: Study, cell: Cell) -> list[Cell]:
    label = method_of(study, cell).stage_one
    if label is None:
        return [cell]
    return [cell_of(study, study.methods.by_label[label], cell.config.data.imbalance_factor), cell]


def _changed_parts(report: Report, cell: CellRow, reported: TrialRow, planned: PlannedTrial) -> list[Difference]:
    """What of the key is not as it was.

    Raises:
        UserError: the images.
    """
    before = {
        **cell.configuration,
        "data_fingerprint": reported.data_fingerprint,
        "code": report.provenance.training_code,
    }
    now = key_parts(planned.config, planned.data_fingerprint)
    changed = [part for part in differing_parts(before, now) if not part.path.endswith("seed")]
    if any(part.path == "data_fingerprint" for part in changed):
        raise UserError(
            f"the images here are not those of the report: {planned.name} saw others",
            hint="give the study file's data the same images; `fingerprints` in the report tells them apart",
        )
    return changed


def _train(
    study: Study, trials: Sequence[PlannedTrial], store: TrialStore, cache_dir: Path, talk: Console
) -> dict[str, Any]:
    """Train them one after another in this process; returns the facts of this place."""
    import torch

    from ccar.cluster.in_process import run_in_process
    from ccar.cluster.trial_worker import TrialWorker

    cuda = torch.cuda.is_available() and study.resources.gpu_share > 0
    device = torch.device("cuda" if cuda else "cpu")
    worker = TrialWorker(store, cache_dir, device=device, threads=max(1, int(study.resources.cpus)))
    with ProgressDisplay(talk, len(trials), 0) as display:
        summary = run_in_process(InStages(GridSource(trials)), worker, display)
    if reason := summary.cut_short_by:
        raise CcarError(reason)
    for trial, error in summary.failures:
        raise CcarError(f"{trial.name} failed: {error.rstrip()}")
    return {**worker.facts, "versions": shown_versions(worker.facts["versions"])}


def _elsewhere(ran: dict[str, Value], facts: dict[str, Any]) -> list[Difference]:
    names = ("device", "processor", "threads", "versions")
    return differing_parts({name: ran.get(name) for name in names}, {name: facts[name] for name in names})


def _compared(reported: TrialRow, replayed: dict[str, Value], circumstances: tuple[Difference, ...]) -> ReplayedTrial:
    before = reported.model_dump()
    names = [name for name in MEASURED if name in before]  # another version may have measured less
    old, new = ({name: row[name] for name in names} for row in (before, replayed))
    return ReplayedTrial(
        seed=reported.seed,
        compared=sum(value is not None for value in old.values()),
        unequal=tuple(differing_parts(old, new)),
        circumstances=circumstances,
    )


def _shown(difference: Difference) -> str:
    old, new = difference.stored, difference.current
    if isinstance(old, float) and isinstance(new, float):
        return f"{difference.path}: {old!r} -> {new!r} ({new - old:+.3g})"
    return str(difference)
