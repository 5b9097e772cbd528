from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccar.store.key import code_digest, digest_of_parts, key_parts, meaning_of, trial_key
from ccar.training.config import Focal, Reweighting
from tests.store.examples import CONFIG


def with_data(**changes):
    return CONFIG.model_copy(update={"data": CONFIG.data.model_copy(update=changes)})


@pytest.mark.parametrize(
    "changed",
    [
        CONFIG.model_copy(update={"seed": 1}),
        CONFIG.model_copy(update={"loss": Focal(gamma=2.0)}),
        CONFIG.model_copy(update={"reweighting": Reweighting(omega=0.75)}),
        CONFIG.model_copy(update={"recipe": CONFIG.recipe.model_copy(update={"learning_rate": 0.2})}),
        with_data(imbalance_factor=11.0),
    ],
)
def test_whatever_changes_the_numbers_changes_the_key(changed):
    assert trial_key(changed, "f") != trial_key(CONFIG, "f")


def test_other_bytes_or_indices_change_the_key():
    assert trial_key(CONFIG, "f") != trial_key(CONFIG, "g")


def test_where_the_images_lie_does_not_change_the_key():
    assert trial_key(with_data(root=Path("/elsewhere"), download=True), "f") == trial_key(CONFIG, "f")


def test_a_key_is_what_its_stored_parts_digest_to():
    assert digest_of_parts(key_parts(CONFIG, "f")) == trial_key(CONFIG, "f")


@given(st.floats(0.001, 1.0), st.integers(0, 10**6), st.sampled_from(["fraction", "none"]))
def test_a_configuration_read_back_from_json_has_the_same_key(omega, seed, frequency):
    config = CONFIG.model_copy(update={"seed": seed, "reweighting": Reweighting(omega=omega, frequency=frequency)})
    read_back = type(config).model_validate_json(config.model_dump_json())
    assert trial_key(read_back, "f") == trial_key(config, "f")


def test_comments_docstrings_and_layout_of_the_training_code_do_not_change_its_digest():
    plain = "def f(x):\n    return x + 1\n"
    adorned = '"""Module."""\n\n\ndef f(x):\n    """Add one."""\n    return (x + 1)  # why not\n'
    assert meaning_of(plain) == meaning_of(adorned)
    assert meaning_of(plain) != meaning_of("def f(x):\n    return x + 2\n")


def test_the_same_code_has_the_same_digest_under_every_version_of_python():
    """That of Python 3.11, whose `ast.dump` says nothing of later fields and does not leave out what is empty."""
    code = "class A(B, c=1):\n    x: int | None = None\n\n    def f(self, *, y=()) -> None:\n        return [*y, ...]\n"
    assert hashlib.sha256(meaning_of(code).encode()).hexdigest() == (
        "6e0b4cec26bee318df3345a41db852dbee325351c3babbd9e1de0ee2d3ec9348"
    )
    if sys.version_info < (3, 12):
        assert meaning_of(code) == ast.dump(ast.parse(code))


def test_the_code_digest_is_one_sha256():
    assert len(code_digest()) == 64
