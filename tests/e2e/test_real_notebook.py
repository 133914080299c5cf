"""A notebook somebody might really have, run through the notebook server like JupyterLab does."""

from __future__ import annotations

from pathlib import Path

import nbformat

from demo.client import Person
from tests.e2e.notebook_runner import run_notebook
from tests.e2e.support import House

NOTEBOOK = Path(__file__).parents[2] / "examples" / "digits.ipynb"


async def test_training_a_small_model_on_data_that_a_package_ships(house: House) -> None:
    person: Person = await house.open("ada")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    expected = len([c for c in notebook.cells if c.cell_type == "code"])

    done = await run_notebook(person, notebook, kernel_name="python-gpu")

    code = [c for c in done.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, expected + 1))
    last = "".join(o.get("text", "") for o in code[-1].outputs)
    accuracy = float(last.split()[-1])
    assert 0.9 < accuracy <= 1.0, last
    assert await person.kernels() == []
