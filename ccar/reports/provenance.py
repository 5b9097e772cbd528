"""Where the numbers of a report come from, in sentences; keys, images and machines are in its tables and files."""

from __future__ import annotations

import hashlib

import ccar
from ccar.evidence.frames import shown_versions
from ccar.reports.report_input import library_versions
from ccar.reports.results import Results
from ccar.store.key import code_digest

DIGITS = 12  # of a sha256


def provenance_of(results: Results) -> list[str]:
    """Code, libraries, keys, and how to train a cell again."""
    keys = "".join(results.trials["key"])
    return [
        f"Code: ccar {ccar.__version__}; the sha256 of all that training runs begins with {code_digest()[:DIGITS]}.",
        f"Statistics and figures: {shown_versions(library_versions())}.",
        "Trials: trials.csv has the key of each, the sha256 of all that can change its numbers; that of all keys in "
        f"their order begins with {hashlib.sha256(keys.encode()).hexdigest()[:DIGITS]}.",
        "To train a cell again from report.json alone, and compare: ccar replay report.json CELL.",
    ]
