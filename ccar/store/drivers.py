"""The drivers that work with a store: each notes for the others what it does, and hears whether it is to pause.

drivers/ID.json     what the driver says of itself; rewritten as long as it lives
        ID.pause    somebody has asked that very process to pause
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ccar.errors import StoreError, UserError
from ccar.store.folder import Folder
from ccar.store.liveness import is_alive, this_process, time_in
from ccar.store.seal import sealed, unseal

_NOTE = ".json"


class Drivers:
    """Reads and writes these notes; many processes on many hosts may use the same folder at once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def note(self, driver: str, content: Mapping[str, Any]) -> float:
        """Say what this process does; also its sign of life.

        Returns:
            When that was: Unix time by the clock of the store's place, for `alive`.

        Raises:
            StoreError: the store cannot be written.
            FileNotFoundError: somebody who takes this driver for dead has removed the note at once.
        """
        self._folder.replace(_note(driver), sealed({"process": this_process(), "content": dict(content)}))
        return self._folder.touched_at(_note(driver))

    def forget_dead(self) -> None:
        """Remove the notes of drivers that were killed; one that was only taken for dead writes its note anew.

        So what it was asked stays: nobody but its own process listens to that. What cannot be read just now stays too.
        """
        for driver in self._names():
            entry = self._read(_note(driver))
            if entry is not None and not is_alive(entry["process"], self._folder, _note(driver)):
                self._folder.delete(_note(driver))

    def leave(self, driver: str) -> None:
        """It is not a driver any more. A note that cannot be removed just now is one of the dead before long."""
        for name in (_note(driver), _wish(driver)):
            with suppress(StoreError):
                self._folder.delete(name)

    def alive(self, *, now: float | None = None) -> Mapping[str, Mapping[str, Any]]:
        """What every driver that lives says of itself, by its name.

        Args:
            now: Unix time, and nothing is written; None: what the clock of that place says, which takes a file there to
                ask.

        Raises:
            StoreError: the notes cannot be read; or the clock cannot be asked.
        """
        entries = {driver: entry for driver in self._names() if (entry := self._read(_note(driver))) is not None}
        if entries and now is None:
            now = time_in(self._folder)
        return {
            driver: entry["content"]
            for driver, entry in entries.items()
            if is_alive(entry["process"], self._folder, _note(driver), now=now)
        }

    def pause(self, driver: str) -> None:
        """Ask a driver to give its trials back and to wait.

        Raises:
            UserError: no such driver lives.
            StoreError: the store cannot be written.
        """
        self._folder.replace(_wish(driver), sealed(self._living(driver)["process"]))

    def resume(self, driver: str) -> None:
        """Ask a driver to go on.

        Raises:
            UserError: no such driver lives.
        """
        self._living(driver)
        self._folder.delete(_wish(driver))

    def is_to_pause(self, driver: str) -> bool:
        """Whether somebody has asked this process to pause; what a former one of the same name was asked is past.

        Raises:
            StoreError: it cannot be read just now.
        """
        try:
            wish = unseal(self._folder, _wish(driver))
        except FileNotFoundError:
            return False
        return bool(wish["pid"] == this_process()["pid"] and wish["machine"] == this_process()["machine"])

    def _living(self, driver: str) -> Mapping[str, Any]:
        entry = self._read(_note(driver))
        if entry is None or not is_alive(entry["process"], self._folder, _note(driver)):
            raise UserError(f"{driver} is not at work yet, or not any more", hint="`ccar status` says how it stands")
        return entry

    def _names(self) -> list[str]:
        return sorted(name.removesuffix(_NOTE) for name in self._folder.names() if name.endswith(_NOTE))

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            return unseal(self._folder, name)
        except (FileNotFoundError, StoreError):  # gone meanwhile; or damaged, which its next note heals
            return None


def _note(driver: str) -> str:
    return f"{driver}{_NOTE}"


def _wish(driver: str) -> str:
    return f"{driver}.pause"
