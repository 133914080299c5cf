"""Files and folders of the project that a page names are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != ".")
NAMED = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`")
BUILT = {"docs/_build/html"}
# The change log tells of what was.
PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")} - {ROOT / "CHANGELOG.md"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_named_is_there(page):
    named = [path for path in NAMED.findall(page.read_text()) if path not in BUILT]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_names_are_found():
    assert NAMED.findall("in `hub_service/quotas/quota.py`, `docs/` and `quota.py`") == [
        "hub_service/quotas/quota.py",
        "docs/",
    ]
