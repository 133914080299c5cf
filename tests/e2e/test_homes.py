"""Files in kernels: what lies beside the notebook, and data that all share."""

from __future__ import annotations

import json

import pytest

from demo.client import Person
from hub_service.kinds import condition, status_of
from tests.e2e.support import COURSE, House, OneKernel


async def run_cells(person: Person, kernel: str, notebook: str) -> list[str]:
    """What each code cell of a notebook prints."""
    cells = [c for c in json.loads(notebook)["cells"] if c["cell_type"] == "code"]
    printed = []
    async with person.connect(kernel) as connection:
        for cell in cells:
            done = await connection.execute("".join(cell["source"]))
            assert done.status == "ok", done.error
            printed.append(done.text)
    return printed


@pytest.mark.course
async def test_a_notebook_imports_the_module_beside_it_and_reads_the_classes_data(
    house: House, kernel_of: OneKernel
) -> None:
    ada = await house.open("ada")
    await ada.make_folder("course")
    for name in ("data.py", "ohm.ipynb"):
        await ada.save_file(f"course/{name}", (COURSE / name).read_text())
    kernel = await ada.open_notebook("course/ohm.ipynb", "python")

    printed = await run_cells(ada, kernel, (COURSE / "ohm.ipynb").read_text())

    assert printed[0] == "/home/jovyan/course\n"
    assert printed[1] == "resistance: 2.00 ohm\n"
    assert printed[2] == "Read-only file system\n"
    # What the kernel wrote is the notebook's to read, and to replace.
    assert await ada.file("course/resistance.txt") == "2.00\n"
    await ada.save_file("course/resistance.txt", "2\n")
    assert (await ada.run(kernel, "print(open('resistance.txt').read())")).text == "2\n\n"

    said = condition(await kernel_of("ada"), "HomeMounted") or {}
    assert (said["status"], said["reason"]) == ("True", "Mounted"), said

    # A restart in place starts there again.
    await ada.restart(kernel)
    assert (await ada.run(kernel, "import data, os; print(os.getcwd())")).text == printed[0]


async def test_nobody_elses_files_are_there(house: House, kernel_of: OneKernel) -> None:
    ada, grace = await house.open("ada"), await house.open("grace")
    await ada.save_file("diary.txt", "private\n")
    of_ada = await ada.start_kernel("python")
    of_grace = await grace.start_kernel("python", path="diary.txt")

    look = "from pathlib import Path; print(Path('~/diary.txt').expanduser().exists())"
    assert (await ada.run(of_ada, look)).text == "True\n"
    assert (await grace.run(of_grace, look)).text == "False\n"
    mine, theirs = [status_of(await kernel_of(name)) for name in ("ada", "grace")]
    claims = [condition({"status": s}, "HomeMounted") or {} for s in (mine, theirs)]
    assert claims[0]["message"] != claims[1]["message"]
