"""What a Ray node that ended by itself says in the log of its `ray start`: which of its processes died, and of what."""

from __future__ import annotations

import re

# `ray start --log-style=record`: time, level and place before each line, in front of what it quotes from others too.
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+\t\w+ \S+ -- ")
_EXITED = re.compile(r"^\s*(?P<process>\w+) \[exit code=(?P<code>[^\]]+)\]$")
_QUOTED = re.compile(r"^\[\d{4}-.*? (?P<level>[IWEC]) \d+ \d+\] \(\w+\) (?P<text>.*)$")
_RAISED = re.compile(r"^[\w.]*(Error|Exception|Exit|Interrupt)\b.*$")
_CHECK = "Check failed: "


def last_words(log: str) -> str:
    """In one line: the first process that is told to have died, and the last error before it did.

    Args:
        log: what `ray start --block --log-style=record` has printed, with the tails of logs that it quotes.
    """
    lines = [line for line in (_RECORD.sub("", line).strip() for line in log.splitlines()) if line]
    if not lines:
        return "it said nothing"
    died = next((found for found in map(_EXITED.match, lines) if found), None)
    error = next((text for text in map(_error, reversed(lines)) if text), lines[-1])
    return error if died is None else f"its {died['process']} ended with exit code {died['code']}: {error}"


def _error(line: str) -> str | None:
    quoted = _QUOTED.match(line)
    if quoted and quoted["level"] in "EC":
        return quoted["text"].partition(_CHECK)[2] or quoted["text"]
    return line if _RAISED.match(line) else None
