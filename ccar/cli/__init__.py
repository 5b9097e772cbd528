"""The command line."""

from ccar.cli.app import main

__all__ = ["main"]
