"""Every reason that a condition can have is explained to those who watch for it."""

import re
from pathlib import Path

from hub_service import kinds
from hub_service.kinds import Reason

DOCS = Path(__file__).parents[3] / "docs"


# Reasons that say that all is well.
GOOD = {
    Reason.WITHIN_QUOTA, Reason.ACCEPTED, Reason.CORRECTED, Reason.MOUNTED, Reason.ANSWERING,
    Reason.ENDED,
}  # fmt: skip


def test_every_entry_of_troubleshooting_is_whole():
    """Condition, reason, cause and way out; and every reason of a kernel's that isn't good news."""
    lines = (DOCS / "troubleshooting.md").read_text().splitlines()
    rows = [line.strip("|").split("|") for line in lines if line.startswith("| `")]
    assert len(rows) > 20
    assert [row for row in rows if len(row) != 4 or not all(cell.strip() for cell in row)] == []
    found = {row[1].strip().strip("`") for row in rows}
    source = Path(kinds.__file__).read_text().partition("class Reason:")[2]
    of_kernels = source.partition("# Accepted of a JupyterKernelSpec")[0]
    wanted = {getattr(Reason, name) for name in re.findall(r"^    ([A-Z_]+) = ", of_kernels, re.M)}
    assert sorted(wanted - found - GOOD - {Reason.INVALID_SPEC}) == []


def test_every_reason_is_listed():
    pages = "".join((DOCS / name).read_text() for name in ("monitoring.md", "kernelspecs.md"))
    reasons = {value for name, value in vars(kinds.Reason).items() if name.isupper()}
    assert len(reasons) > 20
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in pages] == []
