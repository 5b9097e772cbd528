"""The dashboard for Grafana, held against Grafana's own models."""

from __future__ import annotations

import copy
import json
import warnings
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins

with warnings.catch_warnings():
    # Grafana's second format is in the making; the first one is what every Grafana since version 5 reads.
    warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
    from grafana_foundation_sdk.models.dashboard import Dashboard

SHIPPED = json.loads((Path(__file__).parents[2] / "dashboards" / "cluster" / "grafana.json").read_text())

register_default_plugins()  # the models of panels' options and of queries to Prometheus


def understood(dashboard):
    """What Grafana's models keep of it: they pass over what they do not know, and add their defaults."""
    return json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))


def lost(before, after, at="dashboard"):
    """The paths of values that are not there any more, or are others."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            yield from lost(value, after.get(name), f"{at}.{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (value, kept) in enumerate(zip(before, after, strict=True)):
            yield from lost(value, kept, f"{at}[{number}]")
    elif before != after:
        yield at


def test_grafana_understands_all_that_the_dashboard_says():
    assert list(lost(SHIPPED, understood(SHIPPED))) == []


def test_grafana_knows_every_kind_of_panel_and_of_query():
    for panel in Dashboard.from_json(SHIPPED).panels:
        assert type(panel.options).__module__.startswith("grafana_foundation_sdk.models"), panel.title
        for target in panel.targets:
            assert type(target).__module__ == "grafana_foundation_sdk.models.prometheus", panel.title


@pytest.mark.parametrize(
    ("where", "misspelt"),
    [
        ((), "refrsh"),
        (("panels", 0), "titel"),
        (("panels", 0, "options"), "colourMode"),
        (("panels", 0, "fieldConfig", "defaults"), "unti"),
        (("panels", 0, "targets", 0), "exprr"),
    ],
)
def test_a_misspelt_field_would_be_found(where, misspelt):
    changed = copy.deepcopy(SHIPPED)
    inner = changed
    for step in where:
        inner = inner[step]
    inner[misspelt] = "5s"
    assert [path.rpartition(".")[2] for path in lost(changed, understood(changed))] == [misspelt]
