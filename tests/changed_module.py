"""Modules of ours that a test changes in every Python process that is started, as soon as they are imported."""

from __future__ import annotations

import textwrap

_SITE = """
import importlib.util, os, sys, time

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "{module}":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
{change}
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def put_site(folder, module, change):
    """Make `folder`, for PYTHONPATH: its sitecustomize.py, which every process imports, runs `change` on `module`."""
    folder.mkdir()
    text = _SITE.replace("{module}", module).replace("{change}", textwrap.indent(change, " " * 12))
    (folder / "sitecustomize.py").write_text(text)
