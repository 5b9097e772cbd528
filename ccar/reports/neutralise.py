"""Names come from users: made harmless for the format they are written to. HTML is escaped by Jinja itself."""

from __future__ import annotations

import re
import unicodedata

_INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs")  # Unicode's categories of what a terminal obeys or nobody sees
_MARK = "\N{REPLACEMENT CHARACTER}"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_MARKDOWN_BLOCK = re.compile(r"^(\d+[.)]|[-+#=])(?=\s|$|[-=#])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_\allowbreak{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "-": "{-}",  # a pair of hyphens would become a dash
    "[": "{[}",  # after the end of a row, or \item, these three are read as parts of the command
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "−": "$-$",
    "ω": r"$\omega$",
    "Ω": r"$\Omega$",
    "Ψ": r"$\Psi$",
    "–": "--",
    "†": r"\textdagger{}",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "▲": r"$\bigtriangleup$",
    "▼": r"$\bigtriangledown$",
}


def one_line(text: str) -> str:
    """`text` on one line, with a visible mark for each control, bidirectional or unassigned character."""
    line = " ".join(text.split())
    if line.isprintable():  # nearly always, and much faster than to look at every character
        return line
    return _marked(line)


def _marked(line: str) -> str:
    return "".join(_MARK if unicodedata.category(character) in _INVISIBLE else character for character in line)


def lines_of(text: str) -> list[str]:
    """The lines of a file with their blanks as they are, and a visible mark for every other invisible character."""
    return [_marked(line.expandtabs(4)) for line in text.splitlines()]


def for_csv(text: str) -> str:
    """Spreadsheets take a leading = + - @ for a formula: an apostrophe in front makes it text."""
    text = one_line(text)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def for_markdown(text: str) -> str:
    """No mark-up, no HTML, no new table column; underscores inside a word are harmless and stay."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _MARKDOWN.sub(lambda found: "\\" + found[0], text)
    return _MARKDOWN_BLOCK.sub(lambda found: found[0][:-1] + "\\" + found[0][-1], text)


def for_latex(text: str) -> str:
    """Compiles as it reads, in plain pdfLaTeX; what its fonts lack is written as its code point."""
    return "".join(_latex_character(character) for character in one_line(text))


def _latex_character(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii() or "\u00c0" <= character <= "\u00ff":
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"
