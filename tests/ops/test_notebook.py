"""The notebook in docs, executed against a real server."""

import csv
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.serving.running_server import RunningServer
from tests.serving.small_model import BEACONS, RELEASE, fingerprints

NOTEBOOK = Path(__file__).parents[2] / "docs" / "validate-endpoint.ipynb"
KERNEL_TIMEOUT_S = 120


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Rows of all kinds: heard and not heard, with and without a true place."""
    path = tmp_path / "sample.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["location", "x", "y", *BEACONS])
        for number, row in enumerate(fingerprints(12)):
            heard = ["-200" if np.isnan(dbm) else f"{dbm:g}" for dbm in row]
            table.writerow([f"A{number % 6:02d}", "0" if number % 2 else "", number, *heard])
    return path


# The kernel is a process of its own; what its libraries warn of on this side is not ours to mend.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_shows_predictions_on_the_map(
    bundle: Path, sample: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RSSI_SAMPLE_CSV", str(sample))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]

    with RunningServer(bundle) as running:
        url = f"http://127.0.0.1:{running.port}/invocations"
        monkeypatch.setenv("RSSI_ENDPOINT_URL", url)
        NotebookClient(notebook, timeout=KERNEL_TIMEOUT_S, kernel_name="python3").execute()

    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("data", {}).get("text/markdown", "") for output in outputs)
    assert "12 rows" in text
    assert f"release {RELEASE}" in text
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]

    assert all(not cell.get("outputs") for cell in notebook.cells)
