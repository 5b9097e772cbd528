"""Answers a question about the store, on the head of the cluster: `python -m ccar.cli.answer QUESTION [WORD...]`.

The other end is `ccar.cluster.questions.ask`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from ccar.cli.doctor import cluster_checks
from ccar.cli.listing import listing, runs_of
from ccar.cli.places import Places
from ccar.cluster.questions import answer_line, error_line
from ccar.cluster.seat import standing_of_drivers
from ccar.errors import CcarError, UserError
from ccar.store.records import StudyRecord


def main(words: Sequence[str]) -> int:
    """Print the answer, or what is wrong."""
    question, *rest = words
    try:
        line = answer_line(ANSWERS[question](_places(), rest))
    except CcarError as error:
        line = error_line(error)
    print(line, flush=True)
    return 0


def _places() -> Places:
    store = os.environ.get("CCAR_STORE")
    if not store:
        raise UserError(
            "the cluster does not say where its store is",
            hint="start its head with CCAR_STORE=FOLDER, or give --store FOLDER",
        )
    return Places.of(store, os.environ.get("MLFLOW_TRACKING_URI"))


def _runs(places: Places, words: Sequence[str]) -> object:
    return listing("runs", places.store, Path())


def _standing(places: Places, words: Sequence[str]) -> object:
    return {"runs": runs_of(places.store, words), "drivers": standing_of_drivers(places.store.drivers.alive())}


def _pause(places: Places, words: Sequence[str]) -> object:
    (driver,) = words
    places.store.drivers.pause(driver)
    return None


def _resume(places: Places, words: Sequence[str]) -> object:
    (driver,) = words
    places.store.drivers.resume(driver)
    return None


def _doctor(places: Places, words: Sequence[str]) -> object:
    return [asdict(check) for check in cluster_checks(places, "auto")]


def _definition(places: Places, words: Sequence[str]) -> object:
    return _study(places, words).definition


def _report(places: Places, words: Sequence[str]) -> object:
    from ccar.cli.fetch import packed_report  # pandas and more

    return packed_report(places, _study(places, words))


def _study(places: Places, words: Sequence[str]) -> StudyRecord:
    (name,) = words
    record = places.store.study(name)
    if record is None:
        raise UserError(
            f"the store {places.store.address} has no study {name!r} yet",
            hint=f"`ccar status {name}` says whether it has begun",
        )
    return record


ANSWERS: Mapping[str, Callable[[Places, Sequence[str]], object]] = {
    "definition": _definition,
    "doctor": _doctor,
    "pause": _pause,
    "report": _report,
    "resume": _resume,
    "runs": _runs,
    "standing": _standing,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
