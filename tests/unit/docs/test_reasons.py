"""Every reason that a condition can have is explained to those who watch for it."""

from pathlib import Path

from hub_service import kinds

DOCS = Path(__file__).parents[3] / "docs"


def test_every_reason_is_listed():
    pages = "".join((DOCS / name).read_text() for name in ("monitoring.md", "kernelspecs.md"))
    reasons = {value for name, value in vars(kinds.Reason).items() if name.isupper()}
    assert len(reasons) > 20
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in pages] == []
