"""Both places that a store can be in, as fixtures: a folder, and a bucket of a real server on loopback."""

from __future__ import annotations

import uuid

import pytest

from tests.s3_server import BUCKET, s3_server


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """The address of a bucket; the variables that lead to it are set for as long as the module's tests run."""
    with pytest.MonkeyPatch.context() as patch, s3_server(patch):
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield f"s3://{BUCKET}"


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.long)])
def place(request, tmp_path):
    """The address of a store that nobody has used yet."""
    if request.param == "folder":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('bucket')}/{uuid.uuid4().hex}"
