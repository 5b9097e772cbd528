"""Reads one YAML document into plain values, and remembers on which line each of them stands.

What people trip over in YAML is refused or mended here: a key given twice (YAML keeps the last, silently),
tags, anchors, aliases, several documents, a file that is no text. Numbers and truth values follow YAML 1.2:
`1e-3` is a number, and `on`, `off`, `yes`, `no` are words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ccar.errors import Problem, StudyFileError

KeyPath = tuple[str | int, ...]  # the keys and list positions that lead to a value

MAX_BYTES = 1 << 20  # a study file is written by hand; a larger file is a data file given by mistake

_TAG = "tag:yaml.org,2002:"
# The core schema of YAML 1.2: regular expression and the characters that it may begin with.
_CORE_SCHEMA = (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", list("-+0123456789")),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        list("-+.0123456789"),
    ),
)


@dataclass(frozen=True, slots=True)
class YamlSource:
    """A YAML file as plain values: dicts for mappings, tuples for lists, str, int, float, bool or None."""

    file: str
    text: str
    data: Mapping[str, Any]
    lines: Mapping[KeyPath, int]  # 1-based
    problems: tuple[Problem, ...] = ()  # what can be reported together with the problems of the content

    def written(self, path: KeyPath) -> KeyPath:
        """The steps of `path` that the file has; e.g. a lone value that stands for a list has no position."""
        value: Any = self.data
        steps: list[str | int] = []
        for step in path:
            is_key = isinstance(value, Mapping) and step in value
            if is_key or (isinstance(value, tuple) and isinstance(step, int) and step < len(value)):
                value = value[step]
                steps.append(step)
        return tuple(steps)

    def value_at(self, path: KeyPath) -> object:
        """The value at a path that the file has."""
        value: Any = self.data
        for step in path:
            value = value[step]
        return value

    def line_of(self, path: KeyPath) -> int:
        """The line of the value at `path`, or of the nearest value around it that the file has."""
        return self.lines[self.written(path)]


def read_yaml(path: Path) -> YamlSource:
    """Read a YAML file that holds one mapping.

    Raises:
        StudyFileError: the file cannot be read, is not text, is not YAML, or uses what is refused here.
            Keys that are given twice are not raised but returned in `problems`; the first of the two counts.
    """
    return parse_yaml(_read_text(path), str(path))


def parse_yaml(text: str, file: str) -> YamlSource:
    """The same for the text of a file; `file` is its name, for messages."""
    try:
        loader = _Loader(text)
        node = loader.get_node() if loader.check_node() else None
        problems = [Problem(file, line, message, hint) for line, message, hint in loader.refused]
        if node is not None and loader.check_node():
            line = loader.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
            problems.append(
                Problem(file, line, "a second document: found another '---', expected one", "one study per file")
            )
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the file is not text: found the character {chr(error.character)!r}, expected printable text"
        raise StudyFileError([Problem(file, line, message, "is this the right file?")]) from error
    except yaml.MarkedYAMLError as error:
        raise StudyFileError([_syntax_problem(file, text, error)]) from error
    except RecursionError as error:
        message = "the file is nested too deeply: found hundreds of levels, expected a study"
        raise StudyFileError([Problem(file, 1, message, "is this the right file?")]) from error
    if node is None:
        hint = "start from one of the files in studies/"
        raise StudyFileError([Problem(file, 1, "the file is empty: found nothing, expected a study", hint)])
    if problems:
        raise StudyFileError(problems)
    if not isinstance(node, yaml.MappingNode):
        kind = "a list" if isinstance(node, yaml.SequenceNode) else f"the text {_shortened(node.value)}"
        message = f"the file is not a study: found {kind}, expected keys such as 'study:' and 'data:'"
        hint = "start from one of the files in studies/"
        raise StudyFileError([Problem(file, node.start_mark.line + 1, message, hint)])
    builder = _Builder(file)
    data = builder.value(node, ())
    return YamlSource(file, text, data, builder.lines, tuple(builder.problems))


def _read_text(path: Path) -> str:
    file = str(path)
    try:
        with path.open("rb") as handle:
            content = handle.read(MAX_BYTES + 1)
    except OSError as error:
        message = f"cannot be read: found {_reason(error)}, expected a study file"
        raise StudyFileError([Problem(file, None, message, "see the files in studies/")]) from error
    if len(content) > MAX_BYTES:
        message = f"the file is too large: found more than {MAX_BYTES:,} bytes, expected a study"
        raise StudyFileError([Problem(file, None, message, "is this the right file?")])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"the file is not text: found byte 0x{content[error.start]:02x}, expected UTF-8"
        hint = "is this the right file? If it is, save it as UTF-8"
        raise StudyFileError([Problem(file, line, message, hint)]) from error


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder"
    return (error.strerror or str(error)).lower()


def _syntax_problem(file: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark is not None else 0
    lines = text.splitlines()
    found = _shortened(lines[line].strip()) if line < len(lines) else "the end of the file"
    hint = _what_was_meant(error, lines)
    if not hint:
        hint = str(error.problem)
        if error.context_mark is not None and error.context_mark.line != line:
            hint += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    return Problem(file, line + 1, f"this is not YAML: found {found}, expected 'key: value' or '- item'", hint)


def _what_was_meant(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    """What to do about the slips that YAML explains in terms of its own; empty for all others."""
    if "\\t" in str(error.problem):
        return "indent with spaces, not with tabs"
    mark = error.problem_mark
    if mark is None or mark.line >= len(lines):
        return ""
    line, before = lines[mark.line], lines[mark.line][: mark.column]
    if before.endswith("$") and (variable := re.match(r"\{[^}]*\}[^\s,}\]]*", line[mark.column :])):
        text = re.split(r"[\s,{\[]", before)[-1] + variable[0]
        return f'inside {{ }} put it in quotes: "{text}"'
    if error.problem == "mapping values are not allowed here":
        is_second_colon = ": " in before
        return "put the text in quotes" + ("" if is_second_colon else " if its colon is meant, or mend the indentation")
    return ""


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Loader(yaml.SafeLoader):
    """Composes nodes by YAML 1.2's rules and notes every tag, anchor and alias."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # none of YAML 1.1's  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refused: list[tuple[int, str, str]] = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        anchor = getattr(event, "anchor", None)
        tag = getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent):
            hint = "write the value out"
            self.refused.append((line, f"a YAML alias: found *{anchor}, expected a plain value", hint))
        elif anchor is not None:
            hint = "write the value out wherever it is used"
            self.refused.append((line, f"a YAML anchor: found &{anchor}, expected a plain value", hint))
        if tag is not None:
            hint = "leave the tag out: numbers, words and lists are told apart by how they look"
            shown = tag.replace(_TAG, "!!")
            self.refused.append((line, f"a YAML tag: found {shown}, expected a plain value", hint))
        return super().compose_node(parent, index)


for _name, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), _first)


@dataclass(slots=True)
class _Builder:
    """Turns composed nodes into plain values."""

    file: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def value(self, node: yaml.Node, path: KeyPath) -> Any:  # noqa: ANN401  (any YAML value)
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return tuple(self.value(item, (*path, index)) for index, item in enumerate(node.value))
        return _scalar(node.tag.removeprefix(_TAG), node.value)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                message = "a key is not a word: found a list or a mapping, expected a word"
                self.problems.append(Problem(self.file, line, message, "write 'key: value'"))
                continue
            key = key_node.value
            if key in mapping:
                first = self.lines[*path, key]
                message = f"duplicate key: found {key!r} again, expected it once (first in line {first})"
                hint = "YAML would silently keep only the last one; delete one of the two"
                self.problems.append(Problem(self.file, line, message, hint))
                continue
            self.lines[*path, key] = line
            mapping[key] = self.value(value_node, (*path, key))
        return mapping


def _scalar(tag: str, text: str) -> str | int | float | bool | None:
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() == "true"
    if tag == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text, base) if len(text) < 1000 else text  # Python refuses to read longer ones
    if tag == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
