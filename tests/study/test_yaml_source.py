from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccar.errors import Problem, StudyFileError
from ccar.study.yaml_source import MAX_BYTES, YamlSource, read_yaml


def read(tmp_path: Path, text: str | bytes) -> YamlSource:
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path)


def problems(tmp_path: Path, text: str | bytes) -> list[Problem]:
    with pytest.raises(StudyFileError) as caught:
        read(tmp_path, text)
    return caught.value.problems


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        ("-2.5e+3", -2500.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("12", 12),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
    ],
)
def test_plain_values_are_read_by_the_rules_of_yaml_1_2(tmp_path, written, value):
    found = read(tmp_path, f"key: {written}\n").data["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "n", "1_000", "1:30", "2026-01-31", "1e", "nan"])
def test_what_yaml_1_1_would_guess_to_be_something_else_stays_a_word(tmp_path, word):
    assert read(tmp_path, f"key: {word}\n").data["key"] == word


def test_a_quoted_number_stays_a_text(tmp_path):
    assert read(tmp_path, 'key: "0.5"\n').data["key"] == "0.5"


def test_not_a_number_is_read_as_one(tmp_path):
    assert math.isnan(read(tmp_path, "key: .nan\n").data["key"])


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_that_python_writes_is_read_back(tmp_path_factory, number):
    folder = tmp_path_factory.getbasetemp()
    assert read(folder, f"key: {number!r}\n").data["key"] == number


def test_the_line_of_every_key_and_list_item_is_known(tmp_path):
    source = read(tmp_path, "# a comment\na:\n  b: 1\n  c:\n    - 2\n    - {d: 3,\n       e: 4}\n")
    assert source.lines[("a",)] == 2
    assert source.lines[("a", "c")] == 4
    assert source.lines[("a", "c", 1)] == 6
    assert source.lines[("a", "c", 1, "e")] == 7


def test_the_line_of_what_is_not_written_is_that_of_what_is_around_it(tmp_path):
    source = read(tmp_path, "a:\n  b: 1\n")
    assert source.line_of(("a", "b", 0)) == 2
    assert source.line_of(("a", "missing")) == 1


def test_a_key_given_twice_is_a_problem_and_the_first_one_counts(tmp_path):
    source = read(tmp_path, "a: 1\nb:\n  c: 2\n  c: 3\na: 4\n")
    assert source.data == {"a": 1, "b": {"c": 2}}
    assert [(problem.line, problem.message) for problem in source.problems] == [
        (4, "duplicate key: found 'c' again, expected it once (first in line 3)"),
        (5, "duplicate key: found 'a' again, expected it once (first in line 1)"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: !!float 3\n", 2, "a YAML tag: found !!float, expected a plain value"),
        ("a: 1\nb: !python/name:os.system x\n", 2, "a YAML tag: found !python/name:os.system, expected a plain value"),
        ("a: &x 1\nb: 2\n", 1, "a YAML anchor: found &x, expected a plain value"),
        ("a: 1\n---\nb: 2\n", 2, "a second document: found another '---', expected one"),
        ("", 1, "the file is empty: found nothing, expected a study"),
        ("# only a comment\n", 1, "the file is empty: found nothing, expected a study"),
        ("- 1\n- 2\n", 1, "the file is not a study: found a list, expected keys such as 'study:' and 'data:'"),
        ("just words\n", 1, "the file is not a study: found the text 'just words', expected keys such as"),
        ("a: 1\nb:\n\tc: 2\n", 3, "this is not YAML: found 'c: 2', expected 'key: value' or '- item'"),
        ("a: [1, 2\nb: 3\n", 2, "this is not YAML: found 'b: 3', expected 'key: value' or '- item'"),
        ('a: "open\n', 2, "this is not YAML: found the end of the file, expected 'key: value' or '- item'"),
        (b"a: 1\nb: \x00\n", 2, r"the file is not text: found the character '\x00', expected printable text"),
        (b"\x89PNG\r\n\x1a\n\xff", 1, "the file is not text: found byte 0x89, expected UTF-8"),
        (b"a: 1\nb: \xe9\n", 2, "the file is not text: found byte 0xe9, expected UTF-8"),
        ("a: " + "[" * 3000, 1, "the file is nested too deeply: found hundreds of levels, expected a study"),
        ("? [a, b]\n: 1\n", 1, "a key is not a word: found a list or a mapping, expected a word"),
    ],
)
def test_what_is_no_plain_yaml_mapping_is_refused_with_its_line(tmp_path, text, line, message):
    try:
        (problem,) = read(tmp_path, text).problems
    except StudyFileError as error:
        (problem,) = error.problems
    assert problem.file == str(tmp_path / "study.yaml")
    assert problem.line == line
    assert problem.message.startswith(message)
    assert problem.hint


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ("a: {root: ${X}, b: 1}\n", 1, 'inside { } put it in quotes: "${X}"'),
        ("a: {lists: b,\n  root: /x/${X:-a b}/y}\n", 2, 'inside { } put it in quotes: "/x/${X:-a b}/y"'),
        ("a: [b, ${X}]\n", 1, 'inside { } put it in quotes: "${X}"'),
        ("question: Is it: better?\n", 1, "put the text in quotes"),
        ("a: b\n  c: d\n", 2, "put the text in quotes if its colon is meant, or mend the indentation"),
        ("a:\n\tb: 1\n", 2, "indent with spaces, not with tabs"),
        (
            "a: [1, 2\nb: 3\n",
            2,
            "expected ',' or ']', but got ':' (while parsing a flow sequence that begins in line 1)",
        ),
    ],
)
def test_a_slip_of_syntax_says_what_to_write(tmp_path, text, line, hint):
    (problem,) = problems(tmp_path, text)
    assert (problem.line, problem.hint) == (line, hint)


def test_an_alias_is_refused_together_with_its_anchor(tmp_path):
    anchor, alias = problems(tmp_path, "a: &x [1]\nb: *x\n")
    assert (anchor.line, alias.line) == (1, 2)
    assert alias.message == "a YAML alias: found *x, expected a plain value"


def test_aliases_cannot_blow_up_the_memory(tmp_path):
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert problems(tmp_path, "\n".join(["l0: &l0 [x]", *levels]))


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path, found in [(tmp_path / "none.yaml", "no such file"), (tmp_path, "a folder")]:
        with pytest.raises(StudyFileError) as caught:
            read_yaml(path)
        assert str(caught.value).startswith(f"{path}: cannot be read: found {found}, expected a study file")


def test_a_data_file_given_by_mistake_is_not_read_to_its_end(tmp_path):
    (problem,) = problems(tmp_path, b"a" * (MAX_BYTES + 1))
    assert problem.message == "the file is too large: found more than 1,048,576 bytes, expected a study"


def test_a_byte_order_mark_is_no_content(tmp_path):
    assert read(tmp_path, "\ufeffa: 1\n").data == {"a": 1}
