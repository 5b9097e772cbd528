"""Training that goes wrong where a test wants it to, in every process that is started."""

from __future__ import annotations

import os
import textwrap

from tests.changed_module import put_site

_CHANGE = """
train = module.Training._run_epoch
def run_epoch(self, epoch):
{before}
    return train(self, epoch)
module.Training._run_epoch = run_epoch
"""
WAITS = """\
while not os.path.exists({path!r}):
    time.sleep(0.1)
"""


def change_training(before, folder, monkeypatch):
    """Run `before` ahead of each epoch, such as `WAITS`: Python that sees `self`, the `Training`, and `epoch`."""
    site = folder / "site"
    put_site(site, "ccar.training.loop", _CHANGE.replace("{before}", textwrap.indent(before, " " * 4)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
