"""The configuration of claims, through everything that becomes of a run."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from lit_certattr.cli.certify import main
from lit_certattr.models import SmallCNN

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parents[2] / "configs" / "certify" / "claims.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    torch.manual_seed(0)
    spec = {"class_path": "lit_certattr.models.SmallCNN", "init_args": {"image_size": 8}}
    state = {f"net.{name}": value for name, value in SmallCNN(image_size=8).state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"net": spec}}, folder / "digits.ckpt")
    small = ["--certifier.num_samples=200", "--data.init_args.max_images=2", "--max_panels=1"]
    main(["run", f"--config={CONFIG}", f"--checkpoint={folder / 'digits.ckpt'}", f"--output={folder / 'run'}", *small])
    return folder / "run"


def test_each_claim_has_a_row_a_column_of_the_page_and_a_curve(run):
    rows = pq.read_table(run / "results.parquet").to_pylist()
    names = ["the middle holds at least half of the map", "the upper half matters more", "concentration"]
    assert [row["claim"] for row in rows] == names * 2
    for row in rows:
        assert 0 <= row["claim_lower_r0_1"] <= row["claim_lower"] <= row["claim_upper"] <= row["claim_upper_r0_1"] <= 1
        assert (row["claim_radius"] is None) == (row["claim"] == "concentration")
        if row["claim_verdict"] == "holds":
            assert row["claim_radius"] > 0
            assert row["claim_lower"] > row["claim_at_least"]
    page = (run / "report.html").read_text()
    for words in (*names, "Certified claims (claims)", "about the mean over the noise"):
        assert words in page


def test_it_is_audited_with_fresh_noise(run, capsys):
    main(["audit", str(run)])
    main(["audit", str(run), "--fresh"])
    assert "12 claims about 2 images" in " ".join(capsys.readouterr().out.split())


def test_the_numbers_themselves_are_attacked(run):
    small = ["--budgets=[0.1,0.5]", "--search.steps=2", "--num_samples=100", "--max_images=1"]
    main(["attack", str(run), *small])
    rows = pq.read_table(next((run / "attack").rglob("*.parquet"))).to_pylist()
    assert {(row["quantity"], row["level"]) for row in rows} == {
        (name, level) for name in ("number", "one minus number") for level in range(3)
    }
    assert all(row["contradicted"] == 0 for row in rows)
    assert all(row["certified"] <= row["attacked_upper"] for row in rows)
    assert any(row["attacked"] < 0.9 * one["attacked"] for row in rows for one in rows if one["budget"] == 0)


@pytest.mark.parametrize(
    ("honest", "forged"),
    [
        ("top: 0.0", "top: 0.25"),
        ("lit_certattr.numbers.Box", "lit_certattr.numbers.Cube"),
        ("at_least: 0.5", "at_least: 0.4"),
        ("lit_certattr.numbers.Gini", "lit_certattr.numbers.Entropy"),
        ("name: concentration", "name: attention"),
    ],
)
def test_a_configuration_that_claims_something_else_is_found(run, tmp_path, capsys, honest, forged):
    shutil.copytree(run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    assert honest in config.read_text()
    config.write_text(config.read_text().replace(honest, forged, 1))
    with pytest.raises(SystemExit):
        main(["audit", str(tmp_path / "run")])
    assert "claims.claims" in " ".join(capsys.readouterr().out.split())
