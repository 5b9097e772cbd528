"""Every test has a clean environment: its own store, one cache of decoded images for all, no token of the user's."""

from __future__ import annotations

import gc
import os
import re
import secrets
import tempfile
from pathlib import Path

from hypothesis import settings

# At import and not in a fixture: Ray reads its part of the environment when a test module imports it.
_PLACES = tempfile.TemporaryDirectory(prefix="ccar-tests-")
_TOKEN = Path(_PLACES.name) / "ray_token"
_TOKEN.write_text(secrets.token_hex(32))
_TOKEN.chmod(0o600)
_AWS = re.compile("AWS_").match
for _name in [*("CCAR_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_AUTH_TOKEN"), *filter(_AWS, os.environ)]:
    os.environ.pop(_name, None)
os.environ["CCAR_CACHE"] = str(Path(_PLACES.name) / "cache")
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN_PATH"] = str(_TOKEN)
os.environ["OMP_NUM_THREADS"] = "1"  # tests run side by side
gc.set_threshold(50_000)  # as the commands do
# How long an example takes says how busy the machine is.
settings.register_profile("ccar", deadline=None)
settings.load_profile("ccar")


def pytest_unconfigure():
    _PLACES.cleanup()
