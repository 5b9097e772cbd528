"""What the parts of a study file are made of: frozen models, one or more values, a word for a mapping."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

T = TypeVar("T")


class Part(BaseModel):
    """A part of a study file: a misspelt key is an error, and nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def mistake(
    what: str, found: object, expected: str, *, hint: str = "", at: tuple[str | int, ...] = ()
) -> PydanticCustomError:
    """An error of our own that is already in the words of the user.

    Args:
        what: what is wrong, without the name of the key, e.g. "has a repeat".
        found: what the file says.
        expected: what would be right.
        hint: what to do about it.
        at: where inside the validated value.
    """
    context = {"what": what, "found": str(found), "expected": expected, "hint": hint, "at": list(at)}
    return PydanticCustomError("mistake", "{what}: found {found}, expected {expected}", context)


def plain(value: object) -> str:
    """A value as it would stand in a study file: 0.75, not 0.750; 100, not 100.0.

    Example:
        >>> plain(100.0), plain(0.1), plain("dual"), plain(True)
        ('100', '0.1', 'dual', 'true')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


@dataclass(frozen=True, slots=True)
class _Several:
    """Accepts one value for a list of one, and refuses an empty list and repeats."""

    scalar: bool  # whether a single value may stand for a list of one

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        listed = core_schema.no_info_after_validator_function(self._checked, handler(source))
        return core_schema.no_info_before_validator_function(self._listed, listed) if self.scalar else listed

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed = {**handler(schema), "minItems": 1, "uniqueItems": True}
        return {"anyOf": [listed["items"], listed]} if self.scalar else listed

    def _listed(self, value: object) -> object:
        return value if isinstance(value, list | tuple) else (value,)

    def _checked(self, values: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
        if not values:
            raise mistake("is empty", "an empty list", "at least one value")
        seen: set[Hashable] = set()
        for index, value in enumerate(values):
            if value in seen:
                found = shown_model(value) if isinstance(value, BaseModel) else plain(value)
                raise mistake(
                    "has a repeat",
                    f"{found} twice",
                    "each value once",
                    hint="delete one of them",
                    at=(index,),
                )
            seen.add(value)
        return values


Several = Annotated[tuple[T, ...], _Several(scalar=False)]
OneOrMore = Annotated[tuple[T, ...], _Several(scalar=True)]


def shown_model(value: BaseModel) -> str:
    """A model by its name and what differs from the defaults: `focal(gamma=2)`."""
    named = getattr(value, "name", None)
    options = ", ".join(
        f"{key}={plain(getattr(value, key))}"
        for key, field in type(value).model_fields.items()
        if key != "name" and getattr(value, key) != field.default
    )
    name = named if isinstance(named, str) else ""
    return f"{name}({options})" if options or not name else name


@dataclass(frozen=True, slots=True)
class Synonyms:
    """Further words that may be written, each for one of the words that there are."""

    words: Mapping[str, str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.no_info_before_validator_function(self._meant, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        plain = handler(schema)
        return {**plain, "enum": [*plain["enum"], *self.words]}

    def _meant(self, value: object) -> object:
        return self.words.get(value, value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Shorthand:
    """A bare word stands for a mapping with one key: `focal` for `{name: focal}`."""

    key: str
    words: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return core_schema.no_info_before_validator_function(self._spelt_out, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": list(self.words), "type": "string"}, handler(schema)]}

    def _spelt_out(self, value: object) -> object:
        return {self.key: value} if isinstance(value, str) else value
