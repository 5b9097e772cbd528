"""From pydantic's list of errors to the problems of a study file, in plain words and one per mistake."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from ccar.errors import Problem
from ccar.study.parts import plain
from ccar.study.schema import Schema, at, expected, keys_of, places_of, tags_of, words_of
from ccar.study.yaml_source import KeyPath, YamlSource

# pydantic's types of errors, by what they mean to the user; all others mean a value of the wrong type.
_UNKNOWN_NAME = {"literal_error", "union_tag_invalid", "enum"}
_OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"}
_TOO_SHORT = {"too_short", "string_too_short"}
_NOT_ALLOWED = {"string_pattern_mismatch", "string_too_long", "too_long"}


def problems_of(error: ValidationError, source: YamlSource, schema: Schema) -> list[Problem]:
    """One problem for each independent mistake."""
    by_path: dict[KeyPath, Problem] = {}
    for details in error.errors(include_url=False):
        at_value = (*details["loc"], *details.get("ctx", {}).get("at", ()))
        path = source.written(at_value)
        if details["type"] == "missing":
            path = (*path, details["loc"][-1])
        by_path.setdefault(path, _problem(details, path, source, schema))  # one per value, not per union member
    # A misspelt key is one mistake, although the right one is missing.
    for details in error.errors(include_url=False):
        if details["type"] == "extra_forbidden":
            *parents, key = details["loc"]
            meant = nearest(key, keys_of(schema, at(schema, tuple(parents)) or {}))
            where = source.written(tuple(parents))
            if meant is not None and source.written((*where, meant)) == where:
                by_path.pop((*where, meant), None)
    # Of a value that fits no member of a union, only the member that came furthest tells something.
    return [
        problem
        for path, problem in by_path.items()
        if not any(other != path and other[: len(path)] == path for other in by_path)
    ]


def nearest(found: object, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    names = list(known)
    near = difflib.get_close_matches(str(found), names, n=1) or [
        name for name in names if name.lower() == str(found).lower()
    ]
    return near[0] if near else None


def did_you_mean(found: object, known: Iterable[str]) -> str:
    """`did you mean 'ldam'?`, or nothing when no known name is near."""
    near = nearest(found, known)
    return f"did you mean '{near}'?" if near else ""


def dotted(path: KeyPath) -> str:
    """A path as people write it: `methods.bases[1].gamma`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def shown(value: object) -> str:
    """A value as it stands in the file, cut to a readable length; texts in quotes."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        text = repr(value)
    elif isinstance(value, Mapping):
        text = "a mapping with " + (", ".join(str(key) for key in value) or "no keys")
    elif isinstance(value, tuple):
        text = f"[{', '.join('{...}' if isinstance(item, Mapping) else str(item) for item in value)}]"
    else:
        text = str(value).lower()  # true, not True
    return text if len(text) <= 60 else text[:57] + "..."


def _problem(details: Mapping[str, Any], path: KeyPath, source: YamlSource, schema: Schema) -> Problem:
    kind = details["type"]
    line = source.line_of(path)
    node = at(schema, details["loc"]) or {}
    where = dotted(path) or "the file"
    if kind == "mistake":
        context = details["ctx"]
        message = f"{where} {context['what']}: found {context['found']}, expected {context['expected']}"
        return Problem(source.file, line, message, context["hint"] or _description(schema, details["loc"]))
    if kind == "extra_forbidden":
        return _unknown_key(path, source, schema, details["loc"])
    hint = _description(schema, details["loc"])
    if kind == "value_error":  # raised by a part that other rooms define: the file's own value, their words
        message = f"{where} contradicts itself: found {shown(source.value_at(path))}, expected parts that fit"
        return Problem(source.file, line, message, str(details["ctx"]["error"]))
    want = expected(schema, node)
    if kind == "missing":
        return Problem(source.file, line, f"{where} is missing: found nothing, expected {want}", hint)
    if kind.startswith("union_tag"):  # every union of ours is told apart by `name`
        words = tags_of(schema, node)
        value = details["ctx"].get("tag", details["input"])
        what = "is unknown" if "tag" in details["ctx"] else "has no name"
        want = f"one of {', '.join(words)}"
        hint = _with_its_name(value, words) or hint
    else:
        words = words_of(schema, node)
        value = details["input"]
        what = _what_is_wrong(kind, value, words)
    if isinstance(value, str):
        hint = did_you_mean(value, words) or hint
    return Problem(source.file, line, f"{where} {what}: found {shown(value)}, expected {want}", hint)


def _with_its_name(value: object, words: Collection[str]) -> str:
    """How `focal: {gamma: 2}` is written; empty for all that is not the name of a kind over its options."""
    if not isinstance(value, Mapping):
        return ""
    options = dict(value)
    name = next((key for key in value if key in words), None)
    below = options.pop(name, None) or {}
    if name is None or not isinstance(below, Mapping):
        return ""
    listed = [f"{key}: {plain(list(of) if isinstance(of, tuple) else of)}" for key, of in {**below, **options}.items()]
    return f"write {{{', '.join([f'name: {name}', *listed])}}}"


def _what_is_wrong(kind: str, value: object, words: Collection[str]) -> str:
    if kind in _UNKNOWN_NAME or (isinstance(value, str) and words):
        return "is unknown"
    if kind in _TOO_SHORT:
        return "is empty"
    if kind in _NOT_ALLOWED:
        return "is not allowed"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in _OUT_OF_RANGE or (is_number and kind == "number_or_word"):
        return "is out of range"
    return "has the wrong type"


def _unknown_key(path: KeyPath, source: YamlSource, schema: Schema, location: KeyPath) -> Problem:
    key = str(path[-1])
    known = keys_of(schema, at(schema, location[:-1]) or {})
    where = f" in {dotted(path[:-1])}" if path[:-1] else ""
    message = f"unknown key{where}: found {key!r}, expected one of {', '.join(known)}"
    hint = did_you_mean(key, known)
    if not hint:
        places = places_of(schema, key)
        hint = f"'{key}' belongs in {' or '.join(places)}" if places else "delete it, or see docs/study-file.md"
    return Problem(source.file, source.line_of(path), message, hint)


def _description(schema: Schema, location: KeyPath) -> str:
    """What the nearest described key around the location is for."""
    for end in range(len(location), 0, -1):
        node = at(schema, location[:end])
        name = str(location[end - 1])
        if node is not None and "description" in node and name.isidentifier():
            return f"{name}: {node['description']}"
    return "see docs/study-file.md"
