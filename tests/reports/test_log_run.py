"""What a logger receives of a finished run."""

import csv

import pytest
from fabricated_runs import MAKERS, make_run
from lightning.pytorch.loggers import CSVLogger

from lit_certattr import Certifier, jobs
from lit_certattr.attribution import Gradient
from lit_certattr.reports.compare_tables import machine_rows
from lit_certattr.reports.log_run import log_run
from lit_certattr.smoothing import GaussianNoise

RADII = (0.05, 0.3)


def test_the_columns_of_a_comparison_are_the_metrics_of_loggers(tmp_path):
    kinds = tuple(MAKERS)
    directory = make_run(tmp_path / "run", kinds=kinds, count=3)
    certificates = {kind: MAKERS[kind](0.01, (0.5, 0.25)) for kind in kinds}
    certifier = Certifier(Gradient(), GaussianNoise(0.25), certificates, num_samples=150, batch_size=50)
    log_run(CSVLogger(tmp_path, "log", ""), directory, [f"image-{at}" for at in range(3)], certifier, RADII)

    (logged,) = csv.DictReader((tmp_path / "log" / "metrics.csv").read_text().splitlines())
    (row,) = machine_rows(jobs.compare([directory.path]))
    numbers = {key: value for key, value in row.items() if key.startswith("certified/")}
    compared = {key: value for key, value in numbers.items() if not key.endswith(("_low", "_high"))}
    assert {"certified/one_share_k25_r0_10", "certified/overlap_k50_r0_25", "certified/num_samples"} < set(compared)
    assert {key for key in compared if key not in logged} == set()
    for key, value in compared.items():
        assert float(logged[key]) == pytest.approx(value, abs=1e-6), key
    claims = [key for key in logged if key.startswith("certified/claim_claim_spread")]
    assert {f"certified/claim_claim_spread_b_r0_{radius}" for radius in ("10", "30")} < set(claims)
    assert "certified/prediction_r0_10" in logged
