from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import jsonschema
import pytest

from ccar.errors import StudyFileError
from ccar.study.definition import Study, load_study, study_schema
from ccar.study.expansion import cells_of
from ccar.study.recipe_changes import recipe_with
from ccar.study.yaml_source import read_yaml
from ccar.training.config import Focal
from ccar.training.recipe import CosineSchedule
from ccar.training.recipes import RECIPES

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))


def test_a_study_is_read_with_its_defaults_and_its_text(study_file):
    path = study_file()
    study = load_study(path)
    assert study.name == "digits-lt"
    assert study.text == path.read_text()
    assert study.data.imbalance_factors == (10.0, 50.0)
    assert study.recipe == RECIPES["digits_quick"]
    assert study.methods.bases[1] == Focal()
    assert study.search is None
    assert study.early_stopping is None
    assert (study.resources.cpus, study.resources.gpus) == (1, 0)


def test_grid_and_none_say_that_there_is_no_search_and_no_early_stopping(study_file):
    plain = load_study(study_file())
    said = load_study(study_file(("seeds: [0, 1]", "seeds: [0, 1]\nsearch: grid\nearly_stopping: none")))
    assert said.model_dump() == plain.model_dump()


@pytest.mark.parametrize(
    ("short", "spelt_out"),
    [
        ("bases: [cross_entropy, focal]", "bases: [{name: cross_entropy}, {name: focal, gamma: 1}]"),
        ("imbalance_factors: [10, 50]", "imbalance_factors: [10.0, 5e1]"),
        ("frequency: fraction", "frequency: [fraction]"),
        ("recipe: digits_quick", "recipe: {name: digits_quick}"),
    ],
)
def test_a_lone_value_and_a_bare_word_are_short_for_the_whole(study_file, short, spelt_out):
    long = load_study(study_file((short, spelt_out)))
    assert long.model_dump() == load_study(study_file()).model_dump()


def test_a_recipe_keeps_what_is_not_changed(study_file):
    changed = "recipe: {name: digits_quick, epochs: 7, augmentation: [flip]}"
    recipe = load_study(study_file(("recipe: digits_quick", changed))).recipe
    assert recipe == RECIPES["digits_quick"].model_copy(update={"epochs": 7, "augmentation": ("flip",)})


def test_epochs_take_the_place_of_iterations_beside_a_schedule_with_the_warm_up(study_file):
    """Without one, the warm-up, which counts iterations, would be gone and training begin at the peak rate."""
    changed = "recipe: {name: balanced_softmax_cifar, epochs: 200"
    with pytest.raises(StudyFileError) as refused:
        load_study(study_file(("recipe: digits_quick", changed + "}")))
    (problem,) = refused.value.problems
    assert problem.message.startswith("recipe loses its warm-up: found epochs 200 in place of the 13000 iterations of")
    schedule = re.fullmatch(r"write (schedule: \{.*\}) for as large a share of the training", problem.hint)[1]
    recipe = load_study(study_file(("recipe: digits_quick", f"{changed}, {schedule}}}"))).recipe
    assert (recipe.epochs, recipe.iterations, recipe.warmup_iterations) == (200, None, None)
    assert recipe.schedule == CosineSchedule(warmup_epochs=12, warmup_start=0.5)  # 12/200 is nearest to 800/13,000


def test_a_recipe_without_a_name_is_one_mistake(study_file):
    with pytest.raises(StudyFileError) as refused:
        load_study(study_file(("recipe: digits_quick", "recipe: {epochs: 5}")))
    (problem,) = refused.value.problems
    assert problem.message.startswith("recipe.name is missing: found nothing, expected one of balanced_softmax_cifar, ")


def test_a_root_is_filled_from_the_environment_and_made_absolute(study_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CCAR_TEST_IMAGES", "/there")
    monkeypatch.delenv("CCAR_TEST_UNSET", raising=False)
    roots = {
        "${CCAR_TEST_IMAGES}/cifar": Path("/there/cifar"),
        "${CCAR_TEST_UNSET:-data/cifar}": tmp_path / "data" / "cifar",
        "images": tmp_path / "images",
        "~/images": Path.home() / "images",
    }
    for written, root in roots.items():
        study = load_study(study_file(("name: digits", f"name: image_folder\n  root: {written}")))
        assert study.data.root == root
        assert study.data.at(10).root == root


def test_a_path_is_relative_as_it_was_written_and_not_as_it_was_filled(study_file, monkeypatch):
    monkeypatch.setenv("CCAR_TEST_IMAGES", "images")  # what it holds on another machine is not known here
    for root, lists, pretrained, lines in (
        ("images", "./lists", "../weights", [5, 6, 10]),
        ("/images", "~/lists", "/weights", []),
        ("${CCAR_TEST_IMAGES}", "${CCAR_TEST_NOT_SET:-lists}", "${CCAR_TEST_NOT_SET:-/weights}", [6]),
        ("/images", "null", "null", []),
    ):
        path = study_file(
            ("name: digits", f"name: places_lt\n  root: {root}\n  lists: {lists}"),
            ("[10, 50]", "natural"),
            ("validation_per_class: 5", "validation_per_class: own"),
            ("model: small_cnn", f"model: resnet10\npretrained: {pretrained}"),
        )
        problems = load_study(path).relative_paths()
        assert [problem.line for problem in problems] == lines
    assert load_study(study_file()).relative_paths() == []


def test_natural_keeps_the_tail_that_the_data_has(study_file):
    study = load_study(study_file(("[10, 50]", "natural")))
    assert study.data.imbalance_factors == ("natural",)


def test_a_search_and_an_early_stopping_are_read(study_file):
    search = "search: {algorithm: gp, num_samples: 9, omega: [0.05, 1], objectives: [accuracy, few]}"
    study = load_study(
        study_file(
            ("    omega: [0.5, 0.75]\n", ""),
            ("seeds: [0, 1]", f"seeds: [0, 1]\n{search}\nearly_stopping: {{algorithm: asha, grace_epochs: 4}}"),
        )
    )
    assert study.search is not None
    assert (study.search.omega, study.search.objectives) == ((0.05, 1.0), ("accuracy", "few"))
    assert study.early_stopping is not None
    assert study.early_stopping.reduction_factor == 3


def test_the_share_of_a_gpu_can_be_left_to_measurement(study_file):
    resources = load_study(study_file(("seeds: [0, 1]", "seeds: [0, 1]\nresources: {gpus: auto}"))).resources
    assert (resources.gpus, resources.gpu_share) == ("auto", 1)
    assert resources.with_trials_per_gpu(4).gpu_share == 0.25


def test_a_study_survives_pickling(study_file):
    study = load_study(study_file())
    assert pickle.loads(pickle.dumps(study)) == study


def test_a_study_made_in_code_names_itself_where_it_has_no_file():
    study = Study.model_validate(
        {
            "study": "in-code",
            "question": "?",
            "data": {"name": "digits", "imbalance_factors": 10, "validation_per_class": 5},
            "model": "small_cnn",
            "recipe": "digits_quick",
            "methods": {"bases": ["cross_entropy"]},
            "seeds": [0],
            "baseline": "cross_entropy",
        }
    )
    assert str(study.problem(("data",), "something")) == "study in-code: something"
    assert study.text == ""


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid_for_ccar_and_for_editors(path):
    study = load_study(path)
    assert study.name == path.stem.replace("_", "-")
    validator = jsonschema.Draft202012Validator(study_schema())
    assert not list(validator.iter_errors(json.loads(json.dumps(read_yaml(path).data))))
    assert path.read_text().startswith("# yaml-language-server: $schema=../docs/study.schema.json\n")


@pytest.mark.parametrize(
    "mistake",
    [
        ("model: small_cnn", "modle: small_cnn"),
        ("[0.5, 0.75]", "[0, 0.75]"),
        ("[10, 50]", "[0.5]"),
        ("[cross_entropy, focal]", "[focl]"),
        ("[cross_entropy, focal]", "[{name: focal, tau: 1}]"),
        ("[cross_entropy, focal]", "[{gamma: 1}]"),
        ("digits_quick", "digits_slow"),
        ("seeds: [0, 1]", "seeds: [0, 0]"),
        ("seeds: [0, 1]", "seeds: [0]\nsearch: tpe"),
    ],
)
def test_editors_see_the_same_mistakes(study_file, mistake):
    data = read_yaml(study_file(mistake)).data
    validator = jsonschema.Draft202012Validator(study_schema())
    assert list(validator.iter_errors(json.loads(json.dumps(data))))


def test_the_schema_is_a_valid_one_and_describes_every_key():
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def undescribed(node):
        if isinstance(node, list):
            return [found for item in node for found in undescribed(item)]
        if not isinstance(node, dict):
            return []
        own = [key for key, value in node.get("properties", {}).items() if not value.get("description")]
        return own + [found for value in node.values() for found in undescribed(value)]

    assert not undescribed(schema)
    assert "null" not in json.dumps(schema)


def test_the_schema_in_docs_is_current():
    """If not: `ccar schema > docs/study.schema.json`."""
    stored = Path(__file__).parents[2] / "docs" / "study.schema.json"
    assert json.loads(stored.read_text()) == study_schema()


def test_every_key_stands_in_the_document_of_the_study_file():
    text = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    schema = study_schema()
    parts = [schema, *(schema["$defs"][name] for name in schema["$defs"])]
    keys = {key for part in parts for key in part.get("properties", {})}
    assert not [key for key in sorted(keys) if f"`{key}`" not in text and f"{key}:" not in text]


def test_the_document_says_what_is_meant_where_the_file_says_nothing():
    text = " ".join((Path(__file__).parents[2] / "docs" / "study-file.md").read_text().split())
    definitions = study_schema()["$defs"]
    factor = definitions["EarlyStopping"]["properties"]["reduction_factor"]
    assert f"{factor['default']} unless said otherwise, at least {factor['minimum']}" in text
    assert f"at most {study_schema()['properties']['study']['maxLength']} characters" in text
    assert "without one to `downloads` in `CCAR_CACHE`" in text


def test_the_examples_in_the_document_are_valid(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    whole, grids, two_stages, search, early_stopping = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "study.yaml"
    path.write_text(whole)
    study = load_study(path)
    assert "2 x 17 x 3 = 102 trials" in text
    assert len(cells_of(study)) * len(study.seeds) == 102
    one_omega = "  reweighting:\n    omega: [0.25, 0.5, 0.75, 1.0]\n    frequency: [fraction, max_normalised]\n"
    path.write_text(whole.replace(one_omega, textwrap.indent(grids, "  ")) + early_stopping)
    assert len(cells_of(load_study(path))) == 2 * (2 * (1 + 6) + 1 - 1)
    path.write_text(whole.replace("  extra:\n", textwrap.indent(two_stages, "  ")))
    assert {cell.method for cell in cells_of(load_study(path))} >= {"mixup", "crt after mixup", "post-hoc LA"}
    without_omega = one_omega.replace("    omega: [0.25, 0.5, 0.75, 1.0]\n", "")
    searched = whole.replace(one_omega, without_omega).replace("    - {base: focal, omega: 1.0}", "    []")
    path.write_text(searched + search)
    assert load_study(path).search is not None


def test_a_study_file_is_read_without_any_of_the_heavy_packages(study_file):
    heavy = ("torch", "optuna", "ray", "mlflow", "pandas", "matplotlib", "sklearn")
    code = (
        "import sys\n"
        "from ccar.study import definition, expansion, plan, search\n"
        f"study = definition.load_study({str(study_file())!r})\n"
        "assert len(expansion.cells_of(study)) == 12\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("name", RECIPES)
def test_the_warm_up_of_every_named_recipe_warms_up(name):
    recipe = RECIPES[name]
    assert recipe_with(recipe, {"schedule": recipe.schedule.model_dump()}) == recipe


@pytest.mark.parametrize("epochs", [1, 10, 24, 25])
def test_the_schedule_that_is_offered_for_a_warm_up_that_counted_iterations_is_taken(study_file, epochs):
    """800 of 13,000 iterations are nearer to one epoch of 24 than to two, and a warm-up of one is none."""
    changed = f"recipe: {{name: balanced_softmax_cifar, epochs: {epochs}"
    with pytest.raises(StudyFileError) as refused:
        load_study(study_file(("recipe: digits_quick", changed + "}")))
    schedule = re.match(r"write (schedule: \{.*\})", refused.value.problems[0].hint)[1]
    recipe = load_study(study_file(("recipe: digits_quick", f"{changed}, {schedule}}}"))).recipe
    assert recipe.schedule == (CosineSchedule() if epochs < 25 else CosineSchedule(warmup_epochs=2, warmup_start=0.5))
