"""What the data room says of images, in the form of all that is wrong with a study file.

That room's code, texts included, is part of every trial's key: better words there would train everything again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

USUAL_HINT = "see the data section of docs/study-file.md"
# What it says, the same as `what is wrong: found X, expected Y`, and what of it is a hint. The first that fits counts.
_FORMS: tuple[tuple[str, str, str], ...] = (
    (r"(.+?): (expected .+), (found .+)", r"\1: \3, \2", ""),
    (r"(.+ is not a folder): (expected .+)", r"\1: found a file, \2", ""),
    (r"(.+?): (expected .+)", r"\1: found none, \2", ""),
    (r"(.+ needs two or more class folders: found .+)", r"\1, expected at least two", ""),
    (r"(digits .+ has no root: found .+)", r"\1, expected no root", ""),
    (r"(\w+ needs a root): (.+)", r"\1: found none, expected \2", ""),
    (r"(class .+ has no folder) in (.+?)(?:; (did you mean .+))?", r"\1: found none in \2, expected one there", r"\3"),
    (r"(cannot read image .+?): (.+); (save it .+)", r"\1: found \2, expected what can be read", r"\3"),
    (
        r"(cannot read image .+?): (Permission .+)",
        r"\1: found \2, expected what can be read",
        "let ccar read it",
    ),
    (r"(cannot read image .+?): (.+)", r"\1: found \2, expected what can be read", "replace or delete this file"),
    (
        r"and (\d+) more (images cannot be read) \((\d+) in all\)",
        r"\3 \2: found \1 more than are named, expected none",
        "replace or delete these files",
    ),
    (r"and (\d+) more (.+) \((\d+) in all\)", r"\3 \2: found \1 more than are named, expected none", ""),
    (r"images differ in size: (.+); (.+)", r"images differ in size: found \1, expected one size", r"\2"),
    (r"(\d+ images of .+ of memory), (.+) is free", r"\1: found \2 free, expected as much", ""),
    (r"(\w+) is for (.+?): (.+)", r"\1 has no effect: found it although \3, expected it for \2 only", ""),
    (r"(the lists of .+ are not in .+): (.+) not found", r"\1: found no \2, expected them there", ""),
    (r"(.+) lists no image", r"\1 lists no image: found none, expected at least one", ""),
    (r"(cannot (?:list|read) .+?): (.+)", r"\1: found \2, expected what can be read", ""),
    (r"(cannot download .+?|the files in .+? are .+?): (.+)", r"\1: found \2, expected the published files", ""),
    (r"(cannot keep .+?): (.+)", r"\1: found \2, expected a folder that can be written", ""),
)


def hint_on_split(text: str, class_names: Sequence[str]) -> str:
    """Why no tail can be cut as a study asks for, by the study file's name of the key and the classes' own names.

    Example:
        >>> hint_on_split("imbalance_factor: 9 leaves class 1 without a training image: it has 1 images", ["a", "bee"])
        "imbalance_factors: 9 leaves class 'bee' without a training image: it has 1 image"
    """
    text = text.replace("imbalance_factor:", "imbalance_factors:")
    text = re.sub(r"\b1 images", "1 image", text)
    return re.sub(r"\bclass (\d+)", lambda found: f"class '{class_names[int(found[1])]}'", text)


def found_and_expected(line: str) -> tuple[str, str]:
    """A line of a `DataError` as a message and a hint; the hint is empty where the line has none."""
    for pattern, message, hint in _FORMS:
        if match := re.fullmatch(pattern, line):
            return match.expand(message), match.expand(hint)
    return line, ""
