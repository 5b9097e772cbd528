"""Tests of the store run in both places."""

from __future__ import annotations

from tests.store.places import bucket, place

__all__ = ["bucket", "place"]
