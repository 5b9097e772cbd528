"""Links between the documents lead somewhere: to a file of the repository, and to a heading that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *(REPOSITORY / room / "README.md" for room in ("cluster", "dashboards")),
]


def without_code(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def links_of(document):
    found = re.findall(r'\]\(([^)\s]+)\)|(?:href|src)="([^"]+)"', without_code(document.read_text()))
    return [link for pair in found for link in pair if link and "://" not in link]


def anchors_of(document):
    """As GitHub makes them of headings: lower case, blanks as hyphens, no other punctuation."""
    headings = re.findall(r"^#+ (.+)$", without_code(document.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(document):
    for link in links_of(document):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_readme_and_the_pages_of_docs_link_to_files_and_to_headings():
    links = [link for document in DOCUMENTS for link in links_of(document)]
    assert len(links) > 100
    assert sum("#" in link for link in links) > 10
