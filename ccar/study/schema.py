"""JSON Schema of the study file: what editors complete, and what error messages call the expected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from ccar.study.parts import plain

Schema = dict[str, Any]


def study_schema_of(model: type[BaseModel]) -> Schema:
    """The schema that pydantic writes, in the terms of a file: kinds are chosen, nothing is null."""
    schema = model.model_json_schema()
    for part in _objects(schema):
        _forget_null(part)
    for part in _objects(schema):
        part.pop("title", None)
        for key, value in part.get("properties", {}).items():
            if isinstance(value, dict):
                value.pop("title", None)
                if "const" in value:  # pydantic has a default for it, but reading requires it
                    value.pop("default", None)
                    value.setdefault("description", f"chooses {value['const']}")
                    part["required"] = sorted({*part.get("required", ()), key})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ccar study file",
        **schema,
    }


def at(schema: Schema, location: tuple[str | int, ...]) -> Schema | None:
    """The part of the schema for a location as pydantic gives it, with its tags of union members.

    Steps that the schema does not know (tags that name no constant, positions of a lone value) are skipped.
    None when a key leads out of the schema.
    """
    node = schema
    for step in location:
        options = [option for option in alternatives(schema, node) if isinstance(option, dict)]
        if isinstance(step, int):
            items = [option["items"] for option in options if "items" in option]
            tuples = [option["prefixItems"] for option in options if "prefixItems" in option]
            if items or tuples:
                # The last one: a single value that may stand for the list comes before it in the union.
                node = items[-1] if items else tuples[0][min(step, len(tuples[0]) - 1)]
            continue
        named = [option["properties"][step] for option in options if step in option.get("properties", {})]
        tagged = [
            option
            for option in options
            if any(value.get("const") == step for value in option.get("properties", {}).values())
        ]
        if named:
            node = named[0]
        elif tagged:
            node = tagged[0]
        elif any("properties" in option for option in options):
            return None
    return node


def alternatives(schema: Schema, node: Schema) -> Iterator[Schema]:
    """`node` with its reference followed, or the members of its unions."""
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rpartition("/")[2]]
        yield from alternatives(schema, target)
        return
    members = [*node.get("anyOf", ()), *node.get("oneOf", ())]
    if not members:
        yield node
    for member in members:
        yield from alternatives(schema, member)


def expected(schema: Schema, node: Schema) -> str:
    """What a value of this kind looks like, in words.

    Example:
        >>> expected({}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1})
        'a number above 0 and at most 1'
    """
    options = list(alternatives(schema, node))
    words = words_of(schema, node)
    texts = [f"one of {', '.join(words)}" if len(words) > 1 else words[0]] if words else []
    mappings = [list(option["properties"]) for option in options if "properties" in option]
    if mappings:  # of several kinds, the keys that all have
        keys = [key for key in mappings[0] if all(key in others for others in mappings)]
        texts.append(f"a mapping with {', '.join(keys)}")
    texts += [text for option in options if (text := _expected_of_one(schema, option))]
    return " or ".join(texts) or "something else"


def words_of(schema: Schema, node: Schema) -> list[str]:
    """The fixed words that may stand here."""
    words: list[str] = []
    for option in alternatives(schema, node):
        words += option.get("enum", [option["const"]] if "const" in option else [])
    return words


def tags_of(schema: Schema, node: Schema) -> list[str]:
    """The constants by which the members of a union are told apart."""
    return [
        value["const"]
        for option in alternatives(schema, node)
        for value in option.get("properties", {}).values()
        if "const" in value
    ]


def keys_of(schema: Schema, node: Schema) -> list[str]:
    """The keys that a mapping here may have."""
    keys: dict[str, None] = {}
    for option in alternatives(schema, node):
        keys |= dict.fromkeys(option.get("properties", ()))
    return list(keys)


def places_of(schema: Schema, key: str) -> list[str]:
    """Where in a study file a key belongs, as dotted paths."""

    def walk(node: Schema, path: tuple[str, ...]) -> Iterator[str]:
        for option in alternatives(schema, node):
            for name, value in option.get("properties", {}).items():
                if name == key and path:
                    yield ".".join(path)
                yield from walk(value, (*path, name))
            if "items" in option:
                yield from walk(option["items"], path)

    return list(dict.fromkeys(walk(schema, ())))


def _expected_of_one(schema: Schema, option: Schema) -> str | None:
    if "enum" in option or "const" in option or option.get("type") == "null":
        return None
    match option.get("type"):
        case "number":
            return _bounded("a number", option)
        case "integer":
            return _bounded("a whole number", option)
        case "boolean":
            return "true or false"
        case "string":
            return option["description"] if "pattern" in option else "text"
        case "array":
            item = option.get("items", {})
            return f"a list, each {expected(schema, item)}" if item else "a list"
        case _:
            return None


def _bounded(what: str, option: Schema) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    bounds = " and ".join(f"{words[bound]} {plain(option[bound])}" for bound in words if bound in option)
    return f"{what}{',' if bounds.startswith('at') else ''} {bounds}".strip()


def _forget_null(node: Schema) -> None:
    """A key that may be left out is left out: `null` is no value that a file should have."""
    if node.get("default", "") is None:
        del node["default"]
    members = node.get("anyOf", [])
    if {"type": "null"} in members:
        members.remove({"type": "null"})
        if len(members) == 1:
            del node["anyOf"]
            node |= {**members[0], **node}


def _objects(node: object) -> Iterator[Schema]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _objects(value)
    elif isinstance(node, list):
        for value in node:
            yield from _objects(value)
