"""What people may write for a path, and name as a store: a folder, or s3://BUCKET/PREFIX; what of it stays here."""

from __future__ import annotations

import os
import re
import urllib.parse
from pathlib import Path

from ccar.errors import StoreUnreachable, UserError
from ccar.store.disk_folder import DiskFolder
from ccar.store.folder import Folder

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnaming.html, and of keys what needs no escape in any tool.
_BUCKET = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?P<prefix>(/[A-Za-z0-9_.-]+)*)/?")


def folder_at(address: str | Path) -> Folder:
    """The folder at an address; asks nobody yet.

    Raises:
        StoreUnreachable: what it takes is not installed.
        UserError: there can be no such address.
    """
    place = _bucket_and_prefix(address)
    if place is None:
        return DiskFolder(whole_path(address))
    try:
        from ccar.store.bucket import Bucket, BucketFolder  # 5 MB that folders do not need
    except ModuleNotFoundError as error:
        raise StoreUnreachable(
            "a store in a bucket needs a library that is not installed: obstore", hint="pip install obstore"
        ) from error
    bucket, prefix = place
    return BucketFolder(Bucket(bucket), prefix)


def local_root(address: str | Path) -> Path:
    """The folder of this machine for what belongs to a store and cannot be in a bucket.

    The store itself, where it is a folder. Reports, MLflow's own database and logs go there.
    """
    place = _bucket_and_prefix(address)
    if place is None:
        return whole_path(address)
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state.joinpath("ccar", "s3", server().replace(":", "_"), *filter(None, "/".join(place).split("/")))


def whole_path(written: str | Path) -> Path:
    """The path that is meant, for every working directory: absolute, with `~` and `~USER` filled in.

    Raises:
        UserError: nobody here has that name.
    """
    try:
        return Path(written).expanduser().absolute()
    except RuntimeError as error:  # so pathlib says it
        raise UserError(
            f"a path begins with an unknown user: found {written}, expected one of this machine",
            hint="write the whole path",
        ) from error


def endpoint() -> str:
    """Address of the S3 server, by the usual variables."""
    named = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"))
    return next(filter(None, named), "https://s3.amazonaws.com")


def server() -> str:
    """HOST:PORT of the S3 server, as it may be printed: its address may hold a key."""
    return urllib.parse.urlsplit(endpoint()).netloc.rpartition("@")[2] or "unknown"


def _bucket_and_prefix(address: str | Path) -> tuple[str, str] | None:
    """None for a folder.

    Raises:
        UserError: it is empty, or looks like a URL and cannot be used.
    """
    text = str(address)
    if not text.strip():  # a variable that is not set; Path("") would be the folder that ccar is started in
        raise UserError(
            "the store is empty: found an empty text, expected a folder, or s3://BUCKET/PREFIX",
            hint="is a variable not set? Without --store it is CCAR_STORE, or ccar-store",
        )
    scheme = _URL.match(text)
    if scheme is None:
        return None
    found = _BUCKET.fullmatch(text)
    if found is None or {".", ".."} & set(found["prefix"].split("/")):
        shown = f"{scheme[1]}://***" if "@" in text else text  # somebody may have put a password into it
        raise UserError(
            f"the store {shown!r} is neither a folder nor a bucket",
            hint="expected a folder, or s3://BUCKET/PREFIX; the server and its keys come by AWS_ENDPOINT_URL, "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    return found["bucket"], found["prefix"].strip("/")
