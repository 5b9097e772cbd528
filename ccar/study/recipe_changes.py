"""What differs from a recipe: of a named one in a study, of the study's in a method. One rule for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, GetCoreSchemaHandler, create_model
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from ccar.study.parts import Part, Shorthand, mistake, plain
from ccar.training.recipe import CosineSchedule, Recipe, StepSchedule, changed_recipe
from ccar.training.recipes import RECIPES


def _optional(field: FieldInfo) -> Any:  # noqa: ANN401  a type made at run time
    """The field of a recipe, with nothing for what is not changed."""
    kind = Annotated[field.annotation, *field.metadata, Field(discriminator=field.discriminator)]  # type: ignore[name-defined]
    return kind | None, Field(None, description=field.description)


_NAME: dict[str, Any] = {"name": (Literal[tuple(RECIPES)], Field(description="the named recipe to start from"))}
_CHANGEABLE: dict[str, Any] = {name: _optional(field) for name, field in Recipe.model_fields.items() if name != "name"}
# Made from Recipe, so that they cannot differ from it.
RecipeChanges: Any = create_model(
    "RecipeChanges", __base__=Part, __doc__="Fields of the recipe that differ from the study's.", **_CHANGEABLE
)
_NamedRecipe: Any = create_model(
    "NamedRecipe", __base__=Part, __doc__="A named recipe, and what differs from it.", **_NAME, **_CHANGEABLE
)


class ByName:
    """A recipe is written as its name, or as {name: ..., and what differs from the named recipe}."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        written = handler.generate_schema(Annotated[_NamedRecipe, Shorthand("name", tuple(RECIPES))])
        return core_schema.no_info_after_validator_function(_resolved, written)


def _resolved(written: Any) -> Recipe:  # noqa: ANN401  a type made at run time
    return recipe_with(RECIPES[written.name], changes_of(written))


def changes_of(written: Part) -> dict[str, object]:
    """The fields that were written, in the order of their names."""
    return {name: getattr(written, name) for name in sorted(written.model_fields_set)}


def recipe_with(recipe: Recipe, *layers: Mapping[str, object]) -> Recipe:
    """`recipe` changed by one layer after the other: a method's own length takes the place of its procedure's.

    Raises:
        PydanticCustomError: a length in epochs would silently drop the warm-up, which counts iterations; or ends before
            the schedule does; or a warm-up changes the learning rate of no epoch.
        pydantic.ValidationError: the changed recipe contradicts itself.
    """
    for changes in layers:
        epochs = changes.get("epochs")
        if isinstance(epochs, int) and recipe.iterations and recipe.warmup_iterations and "schedule" not in changes:
            share = round(epochs * recipe.warmup_iterations / recipe.iterations)
            raise mistake(
                "loses its warm-up",
                f"epochs {epochs} in place of the {recipe.iterations} iterations of {recipe.name}",
                f"a schedule that says how many epochs replace its {recipe.warmup_iterations} iterations of warm-up",
                hint=f"write schedule: {_with_warmup(recipe, share)} for as large a share of the training",
            )
        _check_length(recipe, changes)
        recipe = changed_recipe(recipe, changes)
        if "schedule" in changes:
            _check_warmup(recipe)
    return recipe


def _check_length(recipe: Recipe, changes: Mapping[str, object]) -> None:
    """The changed recipe refuses the same, but cannot say what to write into a study file."""
    epochs = changes.get("epochs") or (None if changes.get("iterations") else recipe.epochs)
    schedule = changes.get("schedule", recipe.schedule)
    if not isinstance(epochs, int) or not isinstance(schedule, CosineSchedule | StepSchedule):
        return
    milestones = schedule.milestones if isinstance(schedule, StepSchedule) else ()
    if milestones and milestones[-1] >= epochs:
        found, expected, least = (
            f"milestones {list(milestones)}",
            "all milestones before the last epoch",
            milestones[-1] + 1,
        )
    elif schedule.warmup_epochs > epochs:
        found, expected, least = (
            f"warmup_epochs {schedule.warmup_epochs}",
            "a warm-up no longer than the training",
            schedule.warmup_epochs,
        )
    else:
        return
    raise mistake(
        "ends before its schedule does",
        f"epochs {epochs} and {found} of the schedule",
        expected,
        hint=f"write epochs: {least} or more, or another schedule, such as schedule: {{name: cosine}}",
    )


def _check_warmup(recipe: Recipe) -> None:
    """With one that warms nothing up, the same training would have two keys."""
    schedule = recipe.schedule
    if schedule.warmup_epochs == 1:
        raise mistake(
            "has no effect",
            "1",
            "0, or 2 and more",
            hint="the epoch of this number has the full learning rate, so that with 1 none has less",
            at=("schedule", "warmup_epochs"),
        )
    warms_up = schedule.warmup_epochs or recipe.warmup_iterations
    if isinstance(schedule, CosineSchedule) and schedule.warmup_start and not warms_up:
        raise mistake(
            "has no effect",
            f"{plain(schedule.warmup_start)} without a warm-up",
            "warmup_epochs beside it",
            hint="write warmup_epochs: 2 or more, or delete warmup_start",
            at=("schedule", "warmup_start"),
        )


def _with_warmup(recipe: Recipe, epochs: int) -> str:
    """The schedule as a study file has it, with so many epochs of warm-up; none where they would be fewer than two."""
    warmup = {"warmup_epochs": epochs} if epochs > 1 else {"warmup_epochs": 0, "warmup_start": 0.0}
    schedule = recipe.schedule.model_dump(mode="json")
    changed = {name: warmup.get(name, value) for name, value in schedule.items()}
    return "{" + ", ".join(f"{name}: {value}" for name, value in changed.items()) + "}"
