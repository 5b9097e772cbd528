"""The trial key: a digest of everything that can change a trial's numbers, and of nothing else.

In it: the resolved configuration, the seed, the bytes and indices of the data, the training code.
Not in it: where the bytes came from, where the trial ran, who asked for it, how it was tracked.
"""

from __future__ import annotations

import ast
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import ccar
from ccar.data.config import WHEREABOUTS
from ccar.training.config import TrialConfig

TRAINING_ROOMS = ("losses", "metrics", "models", "data", "training")


def trial_key(config: TrialConfig, data_fingerprint: str) -> str:
    """Sha256 hex digest that names this training; equal for equal numbers.

    Args:
        config: the resolved configuration with its seed.
        data_fingerprint: digest of the source's bytes and of the chosen indices.
    """
    return digest_of_parts(key_parts(config, data_fingerprint))


def key_parts(config: TrialConfig, data_fingerprint: str) -> dict[str, Any]:
    """The parts that the key digests, as plain JSON: what `ccar why` compares."""
    return {**keyed_configuration(config), "data_fingerprint": data_fingerprint, "code": code_digest()}


def keyed_configuration(config: TrialConfig) -> dict[str, Any]:
    """The configuration as plain JSON, without what changes no number: where images and weights lie, names."""
    return _without_whereabouts(config.model_dump(mode="json"))


def _without_whereabouts(parts: dict[str, Any]) -> dict[str, Any]:
    for whereabouts in WHEREABOUTS:
        del parts["data"][whereabouts]
    if parts["pretrained"] is not None:
        del parts["pretrained"]["path"]
    del parts["recipe"]["name"]  # what the recipe says counts, not what it is called
    if parts["stage_one"] is not None:
        _without_whereabouts(parts["stage_one"])
    return parts


def digest_of_parts(parts: dict[str, Any]) -> str:
    """Digest of the canonical JSON of `parts`: sorted keys, no blanks, shortest float that reads back."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@cache
def code_digest() -> str:
    """Digest of the code that training runs; comments, docstrings and layout do not change it."""
    package = Path(ccar.__file__).parent
    digest = hashlib.sha256()
    for room in TRAINING_ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
            digest.update(meaning_of(path.read_text(encoding="utf-8")).encode())
    return digest.hexdigest()


def meaning_of(source: str) -> str:
    """The syntax tree of `source` as text, without docstrings: equal for code that does the same."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:]
    return _text_of(tree)


def _text_of(node: object) -> str:
    """As `ast.dump` of Python 3.11 has it. Those of later versions know more fields, or leave out empty ones: then the
    same code would train everything again."""
    if isinstance(node, ast.AST):
        fields = [(name, getattr(node, name, None)) for name in node._fields if name != "type_params"]
        given = [
            f"{name}={_text_of(value)}"
            for name, value in fields
            if value is not None or getattr(type(node), name, ...) is not None
        ]
        return f"{type(node).__name__}({', '.join(given)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_text_of, node))}]"
    return repr(node)
