"""What is worth a note about a study's images although nothing is wrong with the file."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ccar.data.config import DataConfig

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


def mention_ignored_files(data: DataConfig) -> None:
    """Mention the files of a folder that are no images, in the log.

    The folder is listed for it: less than a second for 60,000 files, none of which is opened.
    """
    from ccar.data.image_folder import list_images
    from ccar.data.listed_sets import LISTED_SETS

    if data.name in LISTED_SETS or data.root is None or not (data.root / "train").is_dir():
        return
    ignored = list_images(data.root).ignored
    if len(ignored) == 1:
        log.warning("ignored 1 file that is not PNG, JPEG or WebP: %s", data.root / ignored[0])
    elif ignored:
        first = data.root / ignored[0]
        log.warning("ignored %d files that are not PNG, JPEG or WebP, such as %s", len(ignored), first)
