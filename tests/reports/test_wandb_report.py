"""The report of W&B is built without a connection, from the columns that runs have."""

import sys

import pytest

from lit_certattr.errors import InputError
from lit_certattr.reports.wandb_report import main, wandb_report

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # wandb-workspaces 0.4.13


def test_axes_and_runs_of_the_report():
    pytest.importorskip("wandb_workspaces.reports.v2")
    report = wandb_report("team", "project", metric="certified/overlap_k20_r0_10")
    grids = [block for block in report.blocks if hasattr(block, "runsets")]
    assert [grid.runsets[0].filters for grid in grids] == [
        "Metric('JobType') = 'certify'",
        "Metric('JobType') = 'train'",
    ]
    coordinates, scatter = (panel._to_model().model_dump(by_alias=True)["config"] for panel in grids[0].panels)
    axes = [column["accessor"] for column in coordinates["columns"]]
    assert axes == [
        "config:certification.value.sigma",
        "config:certification.value.num_samples",
        "config:certification.value.seed",
        "summary:certified/noisy_accuracy.last",
        "summary:certified/overlap_k20_r0_10.max",
    ]
    assert scatter["yAxis"] == axes[-1]


def test_without_the_package_the_remedy_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports", None)
    with pytest.raises(InputError, match=r"pip install 'lit-certattr\[wandb\]'"):
        wandb_report("team", "project")
    with pytest.raises(SystemExit) as stop:
        main(["team/project"])
    assert stop.value.code == 2
    with pytest.raises(SystemExit):
        main(["project"])
    assert "give ENTITY/PROJECT" in capsys.readouterr().err
