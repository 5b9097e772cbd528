"""Training that goes wrong where a test wants it to, in every process that is started."""

from __future__ import annotations

import os
import textwrap

# Every Python process imports this file; only those that train come to the point.
_SITE = """
import importlib.util, os, sys, time

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name != "ccar.training.loop":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def exec_module(module):
            execute(module)
            train = module.Training._run_epoch
            def run_epoch(self, epoch):
{before}
                return train(self, epoch)
            module.Training._run_epoch = run_epoch
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
"""


def change_training(before, folder, monkeypatch):
    """Run `before` ahead of each epoch: Python that sees `self`, the `Training`, and `epoch`."""
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(_SITE.replace("{before}", textwrap.indent(before, " " * 16)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
