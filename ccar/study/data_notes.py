"""What is worth a note about a study's images although nothing is wrong with the file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ccar.data.image_set import SourceData
    from ccar.study.definition import Study

log = logging.getLogger(__name__)

COARSE_POINTS = 2.0  # of accuracy; most gains are smaller


def coarse_validation(study: Study, source: SourceData) -> str | None:
    """That omega would be chosen on so few images that their accuracy can hardly say which one is better."""
    chooses = study.search is not None or any(method.reweighting for method in study.methods.by_label.values())
    held_out = study.data.validation_per_class
    if held_out == "own":
        count = 0 if source.validation is None else len(source.validation)
    else:
        count = held_out * len(source.class_names)
    if not chooses or count == 0 or 100 / count <= COARSE_POINTS:
        return None
    steps = f"accuracy moves in steps of {100 / count:.1f} points"
    return f"{count} validation images: {steps}; omega cannot be chosen on them"


def mention_ignored_files(source: SourceData) -> None:
    """Mention the files of a folder that are no images, in the log."""
    ignored = source.ignored
    if len(ignored) == 1:
        log.warning("ignored 1 file that is not PNG, JPEG or WebP: %s", ignored[0])
    elif ignored:
        log.warning("ignored %d files that are not PNG, JPEG or WebP, such as %s", len(ignored), ignored[0])
