"""What is worth a note about a study's images although nothing is wrong with the file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ccar.data.config import DataConfig

log = logging.getLogger(__name__)


@contextmanager
def mentioning_ignored_files(data: DataConfig) -> Iterator[None]:
    """Mention at the end of the block the files of a folder that are no images. The data room, which does so only when
    it decodes, is silent about them meanwhile.

    The folder is listed for it: less than a second for 60,000 files, none of which is opened.
    """
    from ccar.data import image_folder
    from ccar.data.listed_sets import LISTED_SETS

    room = logging.getLogger(image_folder.__name__)
    room.addFilter(_is_about_something_else)
    try:
        yield
    finally:
        room.removeFilter(_is_about_something_else)
    if data.name in LISTED_SETS or data.root is None or not (data.root / "train").is_dir():
        return
    ignored = image_folder.list_images(data.root).ignored
    if len(ignored) == 1:
        log.warning("ignored 1 file that is not PNG, JPEG or WebP: %s", data.root / ignored[0])
    elif ignored:
        first = data.root / ignored[0]
        log.warning("ignored %d files that are not PNG, JPEG or WebP, such as %s", len(ignored), first)


def _is_about_something_else(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("ignored ")
