"""A bucket that cannot be a store is refused in a moment and in words; one that goes away costs no commit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ccar.errors import CcarError, StoreError, StoreUnreachable, UserError
from ccar.store.address import folder_at, local_root
from ccar.store.trial_store import TrialStore
from tests.s3_server import BUCKET, SECONDS_OF_SLOW, SECRET, s3_server
from tests.store.examples import CLASS_COUNTS, CONFIG, PARTS, WORKER, epoch

REPOSITORY = Path(__file__).parents[2]


def claim(store):
    return store.claim(CONFIG, PARTS, class_counts=CLASS_COUNTS, worker=WORKER)


def gives_up_after(seconds, folder):
    """From now on what is asked of this folder waits no longer for the server; before, it had all the time it needs."""
    folder._bucket.objects = folder._bucket._connected(seconds)


@pytest.fixture
def silent_server():
    """An address where connections are taken and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "address",
    [
        "s3://",
        "s3:///prefix",
        "s3:/bucket/prefix",
        "s3://ab",
        "s3://Bucket",
        "s3://bucket/a//b",
        "s3://bucket/../other",
        "s3://bucket/a b",
        "s3://bucket/a?versionId=1",
        "S3://bucket",
        "gs://bucket/prefix",
        "https://bucket.example.org/prefix",
    ],
)
def test_what_is_neither_a_folder_nor_a_bucket_is_refused_with_a_hint(address):
    with pytest.raises(UserError, match="neither a folder nor a bucket") as caught:
        TrialStore(address)
    assert address in str(caught.value)
    assert "s3://BUCKET/PREFIX" in caught.value.hint


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(UserError) as caught:
        TrialStore(f"s3://somebody:{SECRET}@bucket/prefix")
    assert SECRET not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("address", ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/a/b_c.d"])
def test_an_address_is_said_as_it_was_given(address):
    assert TrialStore(address).address == address.rstrip("/")


def test_what_cannot_be_in_a_bucket_goes_to_a_folder_of_this_machine_one_for_each_store(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://somebody:secret@storage:9000/")
    assert local_root("s3://bucket/a/b") == tmp_path / "ccar" / "s3" / "storage_9000" / "bucket" / "a" / "b"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert local_root("s3://bucket") == tmp_path / "ccar" / "s3" / "s3.amazonaws.com" / "bucket"
    assert local_root(tmp_path / "store") == tmp_path / "store"


def test_without_the_library_a_bucket_is_refused_and_a_folder_is_not(tmp_path):
    code = f"""
import sys
sys.modules["obstore"] = None
from ccar.errors import UserError
from ccar.store.trial_store import TrialStore
assert TrialStore({str(tmp_path)!r}).keys() == []
try:
    TrialStore("s3://bucket")
except UserError as error:
    print(error, error.hint, sep="|")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout == "a store in a bucket needs a library that is not installed: obstore|pip install obstore\n"


def test_a_store_in_a_folder_does_not_import_the_library(tmp_path):
    code = f"""
import sys
from ccar.store.trial_store import TrialStore
TrialStore({str(tmp_path)!r}).check_writable()
sys.exit("obstore" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


@pytest.mark.long
@pytest.mark.parametrize(
    "use",
    [
        TrialStore.check_writable,
        TrialStore.keys,
        TrialStore.studies,
        lambda store: store.read("0" * 64),
        lambda store: store.drivers.alive(),
        claim,
    ],
)
def test_a_bucket_that_does_not_exist_is_said_to_whatever_asks_first(bucket, use):
    with pytest.raises(UserError, match=r"there is no bucket 'another-bucket' at 127\.0\.0\.1:") as caught:
        use(TrialStore("s3://another-bucket/prefix"))
    assert "create it" in caught.value.hint


@pytest.mark.long
def test_wrong_keys_are_told_and_not_repeated(monkeypatch):
    with (
        s3_server(monkeypatch, INITIAL_NO_AUTH_ACTION_COUNT="0"),
        pytest.raises(UserError, match="does not let this user into the bucket") as caught,
    ):
        TrialStore(f"s3://{BUCKET}").check_writable()
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert SECRET not in f"{caught.value} {caught.value.hint}"


@pytest.mark.long
@pytest.mark.parametrize("answers", ["refused", "silence"])
def test_without_any_keys_one_is_told_within_15_seconds(monkeypatch, silent_server, answers):
    """A machine of a cloud is asked for keys then, which other machines have not got."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", silent_server if answers == "silence" else "http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(UserError, match="does not let this user into the bucket"):
        TrialStore(f"s3://{BUCKET}").check_writable()
    assert time.monotonic() - begun < 15


@pytest.mark.long
@pytest.mark.parametrize("answers", ["refused", "silence"])
def test_a_server_that_does_not_answer_is_told_within_15_seconds(monkeypatch, silent_server, answers):
    monkeypatch.setenv("AWS_ENDPOINT_URL", silent_server if answers == "silence" else "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    begun = time.monotonic()
    with pytest.raises(UserError, match="it does not answer") as caught:
        TrialStore(f"s3://{BUCKET}").check_writable()
    assert time.monotonic() - begun < 15
    assert "AWS_ENDPOINT_URL" in caught.value.hint


@pytest.mark.long
def test_a_server_that_ignores_conditions_is_refused(monkeypatch):
    with s3_server(monkeypatch, "--ignores-conditions"):
        store = TrialStore(f"s3://{BUCKET}/prefix")
        with pytest.raises(UserError, match="exclusive create is the commit"):
            store.check_writable()
        assert list(store.files.names()) == []


@pytest.mark.long
def test_a_store_that_can_be_used_is_left_as_it_was(bucket):
    store = TrialStore(f"{bucket}/checked")
    store.check_writable()
    assert list(store.files.names()) == []


@pytest.mark.long
def test_who_created_a_file_and_never_heard_of_it_has_created_it(monkeypatch):
    with s3_server(monkeypatch, "--loses-answers"):
        folder = folder_at(f"s3://{BUCKET}/prefix")
        assert folder.create("a", b"first")
        assert not folder.create("a", b"second")
        assert folder.read("a") == b"first"


@pytest.mark.long
def test_while_the_server_is_away_a_commit_fails_with_a_hint_and_what_was_committed_stays(monkeypatch, tmp_path):
    with s3_server(monkeypatch):
        store = TrialStore(f"s3://{BUCKET}")
        taken = claim(store)
        taken.commit([epoch(1)], b"state 1")
    gives_up_after(1, store.files)
    with pytest.raises(StoreError, match="does not answer") as caught:
        taken.commit([epoch(2)], b"state 2")
    assert "again" in caught.value.hint
    assert not isinstance(caught.value, StoreUnreachable)
    taken.abandon()
    with pytest.raises(CcarError):
        store.keys()
    assert SECRET not in str(caught.value)
    assert SECRET in os.environ["AWS_SECRET_ACCESS_KEY"]


@pytest.mark.long
def test_an_object_is_read_however_long_it_takes_as_long_as_it_comes_on(monkeypatch):
    content = os.urandom(1_000_000)
    with s3_server(monkeypatch, "--is-slow"):
        folder = folder_at(f"s3://{BUCKET}/prefix")
        folder.replace("slow", content)
        gives_up_after(5, folder)  # as long as a busy server may be silent between two pieces
        assert SECONDS_OF_SLOW > 2 * 5
        assert folder.read("slow") == content


@pytest.mark.long
def test_an_object_that_comes_on_no_more_is_given_up(monkeypatch):
    with s3_server(monkeypatch, "--is-slow"):
        folder = folder_at(f"s3://{BUCKET}/prefix")
        folder.replace("stalled", os.urandom(1_000_000))
        gives_up_after(1, folder)
        with pytest.raises(StoreError, match=f"cannot read s3://{BUCKET}/prefix/stalled") as caught:
            folder.read("stalled")
        assert "again" in caught.value.hint
