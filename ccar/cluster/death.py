"""Of what a trial's process died: in a line, out of what Ray says at length."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WHERE = re.compile(r"\b(?P<what>pid|ip)(?:: |=)(?P<value>[\w.:]+)")
_DETAIL = re.compile(r"Worker exit detail: (.*)$", re.MULTILINE)
# Neither Ray nor, as after a crash, the process itself knows more: Ray then counts all ways in which one can end so.
_SAID_NOTHING = "Worker unexpectedly exits with a connection error"
_HEADINGS = ("Failure # ", "The actor died unexpectedly")  # the indented lines below them are facts about the actor
_NODE_HAS_GONE = re.compile(r"because its node has died|^The actor \S+ is unavailable", re.MULTILINE)
_FRAME = "\n  File "  # of a traceback, whose last line tells
_LONGEST = 300  # characters
_UNKNOWN = "Ray does not say of what"


@dataclass(frozen=True, slots=True)
class Death:
    """The end of a process that was not asked to end."""

    why: str = _UNKNOWN
    place: str = ""  # process and machine, where Ray says so
    node_has_gone: bool = False  # or cannot be reached: the process did not die by itself

    @property
    def cause(self) -> str:
        """All of it in a line."""
        return f"{self.place}: {self.why}" if self.place else self.why

    @classmethod
    def told(cls, error: str) -> Death:
        """What there is to know.

        Args:
            error: what Tune has noted of the exception with which Ray ended the trial.

        Example:
            >>> Death.told("The actor died unexpectedly.\\n\\tpid: 7\\n\\tip: 10.0.0.2\\nIt ran out of memory.").cause
            'process 7 on 10.0.0.2: It ran out of memory.'
        """
        lines = [line.rstrip() for line in error.splitlines() if line.strip()]
        said = [line for line in lines if not line.startswith(("\t", *_HEADINGS))]
        detail = _DETAIL.search(error)
        if _SAID_NOTHING in error:
            why = "it ended without a word, as when the kernel kills it for want of memory"
        elif detail is not None:
            why = detail[1]
        else:
            why = (said[-1] if _FRAME in error else said[0]) if said else _UNKNOWN
        where = {found["what"]: found["value"] for found in _WHERE.finditer(error)}
        place = f"process {where['pid']} on {where['ip']}" if where.keys() == {"pid", "ip"} else ""
        short = why if len(why) <= _LONGEST else f"{why[:_LONGEST]}..."
        return cls(short, place, node_has_gone=_NODE_HAS_GONE.search(error) is not None)
