from __future__ import annotations

import pytest
from pydantic import ValidationError

from ccar.data.config import DataConfig
from tests.data.folders import data_config


@pytest.mark.parametrize(("written", "meant"), [(1, 1.0), ("1e2", 100.0), (2.5, 2.5), ("natural", "natural")])
def test_an_imbalance_factor_is_a_number_or_natural(written, meant):
    assert data_config(imbalance_factor=written).imbalance_factor == meant


@pytest.mark.parametrize("written", [0.5, 0, -1, float("nan"), float("inf"), "natrual", None, [1]])
def test_any_other_imbalance_factor_is_one_error_at_its_own_place(written):
    with pytest.raises(ValidationError) as caught:
        data_config(imbalance_factor=written)
    (error,) = caught.value.errors()
    assert error["loc"] == ("imbalance_factor",)
    assert error["msg"] == "Input should be a number, 1 or larger, or the word 'natural'"


def test_editors_are_told_both_forms_of_the_imbalance_factor():
    schema = DataConfig.model_json_schema()["properties"]["imbalance_factor"]
    assert {"minimum": 1, "type": "number"} in schema["anyOf"]
    assert {"const": "natural", "type": "string"} in schema["anyOf"]
