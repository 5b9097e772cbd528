"""A folder in a bucket of any S3-compatible server: an object is whole or not there, and is created once.

Exclusive create is a conditional put (`If-None-Match: *`). Server, region and keys come by the usual variables AWS_*.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from ccar.errors import StoreError, StoreUnreachable
from ccar.store.address import endpoint, server
from ccar.store.turn import taken_turn

# At first contact somebody waits at a terminal; later a server may be started anew beneath a study.
_SECONDS_AT_FIRST = 4
_SECONDS_LATER = 30
_SECONDS_FOR_A_WHOLE_OBJECT = 3600  # of any size, as long as it comes on
_WRITER = "ccar-writer"  # metadata of what was created exclusively: which call it was
_CREATE_AGAIN = 3
_PARTS_AT_ONCE = 4  # of 5 MB, each of which has to be there in time; by default twelve, too many for a slow link
# Refused; or a key is missing; or both are, and this machine, which may be one of a cloud, was asked for them in vain.
_NO_ADMISSION = re.compile(r"status code: 40[13]|Missing \w+|/latest/api/token")


class Bucket:
    """A connection to a bucket, made and tried out when it is first used."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def objects(self) -> S3Store:
        """The objects in it.

        Raises:
            StoreUnreachable: it does not exist, the server does not answer, or not to us.
        """
        try:
            next(iter(self._connected(_SECONDS_AT_FIRST).list(chunk_size=1)), None)
        except BaseError as error:
            raise self._unreachable(error) from error
        return self._connected(_SECONDS_LATER)

    def _connected(self, seconds: int) -> S3Store:
        return S3Store(
            self.name,
            config={"disable_bulk_delete": True},  # not every server knows it
            client_options={
                "allow_http": endpoint().startswith("http://"),
                "connect_timeout": timedelta(seconds=seconds),
                # Between two bytes, and not until the last one: a large checkpoint on a slow link takes minutes.
                "read_timeout": timedelta(seconds=seconds),
                "timeout": timedelta(seconds=_SECONDS_FOR_A_WHOLE_OBJECT),
            },
            retry_config={"max_retries": 10, "retry_timeout": timedelta(seconds=seconds)},
        )

    def _unreachable(self, error: BaseError) -> StoreUnreachable:
        text = str(error)
        if "NoSuchBucket" in text:
            return StoreUnreachable(
                f"there is no bucket {self.name!r} at {server()}", hint="create it, or name another one: --store"
            )
        if _NO_ADMISSION.search(text):
            return StoreUnreachable(
                f"{server()} does not let this user into the bucket {self.name!r}",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_REGION if it has one",
            )
        return StoreUnreachable(
            f"cannot use the bucket {self.name!r} at {server()}: {_reason(error)}",
            hint="is the server up, and AWS_ENDPOINT_URL its address?",
        )


class BucketFolder:
    """See `ccar.store.folder.Folder`."""

    def __init__(self, bucket: Bucket, path: str) -> None:
        self._bucket = bucket
        self._path = path

    def __str__(self) -> str:
        return "/".join(filter(None, (f"s3://{self._bucket.name}", self._path)))

    def folder(self, *names: str) -> BucketFolder:
        return BucketFolder(self._bucket, self._key(*names))

    def create(self, name: str, content: bytes) -> bool:
        # Where an answer gets lost the put is sent again, and is refused: by itself. So it says who it was.
        call = uuid.uuid4().hex
        with self._says("write", name):
            for last in (False,) * (_CREATE_AGAIN - 1) + (True,):
                try:
                    self._put(name, content, mode="create", use_multipart=False, attributes={_WRITER: call})
                except AlreadyExistsError:
                    return self._created_by(name) == call
                except BaseError:
                    if last:
                        raise
                else:
                    return True
        raise AssertionError("the last one returns or raises")

    def replace(self, name: str, content: bytes) -> None:
        with self._says("write", name):
            self._put(name, content, max_concurrency=_PARTS_AT_ONCE)

    def read(self, name: str) -> bytes:
        with self._says("read", name):
            return bytes(obstore.get(self._bucket.objects, self._key(name)).bytes())

    def exists(self, name: str) -> bool:
        try:
            self.touched_at(name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, *names: str) -> None:
        with self._says("delete", names[0] if len(names) == 1 else None):
            obstore.delete(self._bucket.objects, [self._key(name) for name in names])  # several at once

    def touch(self, name: str) -> None:
        self.replace(name, b"")

    def touched_at(self, name: str) -> float:
        with self._says("read", name):
            return float(obstore.head(self._bucket.objects, self._key(name))["last_modified"].timestamp())

    def names(self, depth: int = 1) -> Collection[str]:
        with self._says("list"):
            if depth == 1:
                found = self._listed()
                return [*(_last(each["path"]) for each in found["objects"]), *map(_last, found["common_prefixes"])]
            # All objects, a thousand at a time, come sooner than the contents of each folder.
            return {parts[depth - 1] for path in self._below() if len(parts := path.split("/")) >= depth}

    def versions(self) -> Mapping[str, str]:
        with self._says("list"):
            return {_last(each["path"]): str(each["e_tag"]) for each in self._listed()["objects"]}

    @contextmanager
    def turn(self, name: str, seconds: float) -> Iterator[None]:
        with taken_turn(self.folder(name), seconds):
            yield

    def nearest(self) -> BucketFolder:
        return self  # nothing has to be made

    def clear(self) -> None:
        with self._says("list"):
            found = list(self._below())
        self.delete(*found)

    def free_bytes(self) -> int | None:
        return None

    def _key(self, *names: str) -> str:
        return "/".join(filter(None, (self._path, *names)))

    def _put(self, name: str, content: bytes, **options: Any) -> None:  # noqa: ANN401  (those of obstore.put)
        try:
            obstore.put(self._bucket.objects, self._key(name), content, **options)
        except FileNotFoundError as error:
            raise StoreError(f"there is no bucket {self._bucket.name!r} any more") from error

    def _below(self) -> Iterator[str]:
        """All objects in it and in its folders, by their paths from here."""
        above = len(self._path) + 1 if self._path else 0
        for chunk in self._bucket.objects.list(self._path, chunk_size=1000):
            for each in chunk:
                yield each["path"][above:]

    def _listed(self) -> obstore.ListResult[Any]:
        return obstore.list_with_delimiter(self._bucket.objects, self._path)

    def _created_by(self, name: str) -> object:
        """The call that created a file."""
        try:
            return obstore.get(self._bucket.objects, self._key(name)).attributes.get(_WRITER)
        except FileNotFoundError:  # somebody else's, and deleted since
            return None

    @contextmanager
    def _says(self, what: str, name: str | None = None) -> Iterator[None]:
        """Turn errors of the library into ours."""
        try:
            yield
        except BaseError as error:
            where = self if name is None else f"{self}/{name}"
            raise StoreError(
                f"cannot {what} {where}: {_reason(error)}",
                hint="nothing committed is lost: run the same command again when the server is there",
            ) from error


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _reason(error: BaseError) -> str:
    """What the server says, or what the library says of it, in a line."""
    text = str(error)
    code, message = (re.search(f"<{tag}>(.*?)</{tag}>", text) for tag in ("Code", "Message"))
    if code is not None:
        return f"{message[1] if message else 'refused'} ({code[1]})"
    first = text.partition("\n")[0]
    return "it does not answer" if "error sending request" in first else first.rpartition(" - ")[2]
