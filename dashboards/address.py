"""Addresses of pages: all that a page shows is said by its address, so that a view can be passed on."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

SEPARATOR = "\n"  # between several values of one field: no name that a study file may hold has it
_MOST_FIELDS = 40
_LONGEST = 8_000  # characters: what browsers and proxies carry


def address(path: str, /, **fields: str | None) -> str:
    """The address of a page; fields that are None or empty are left out.

    Example:
        >>> address("/study", study="digits", base="")
        '/study?study=digits'
    """
    said = {name: value for name, value in fields.items() if value}
    return f"{path}?{urlencode(said)}" if said else path


def fields_of(search: str | None) -> dict[str, str]:
    """What the address says, by name; nothing where it is too long to be one of ours.

    Example:
        >>> fields_of("?study=digits&base=ldam")
        {'study': 'digits', 'base': 'ldam'}
    """
    text = (search or "").removeprefix("?")
    if len(text) > _LONGEST:
        return {}
    try:
        return dict(parse_qsl(text, max_num_fields=_MOST_FIELDS))
    except ValueError:
        return {}


def search_of(fields: Mapping[str, str]) -> str:
    """The other way round; "" where nothing is said."""
    return address("", **fields)
