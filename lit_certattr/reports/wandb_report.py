"""A report of Weights & Biases over all runs of a project: parallel coordinates, robustness against accuracy, curves.

Run ``python -m lit_certattr.reports.wandb_report ENTITY/PROJECT``; it needs ``pip install lit-certattr[wandb]`` and
``wandb login``.
"""

import argparse
import sys
from typing import Any

from lit_certattr.errors import InputError
from lit_certattr.settings.extras import extra

METRIC = "certified/one_share_k25_r0_10"
"""The number that the report is about, unless the user chooses another."""
_SIGMA, _SAMPLES, _SEED = "certification.sigma", "certification.num_samples", "certification.seed"
_ACCURACY = "certified/noisy_accuracy"


def wandb_report(entity: str, project: str, metric: str = METRIC) -> Any:
    """Build the report; nothing is sent before its ``save()``.

    It has parallel coordinates of the runs of certification (noise, samples, seed, noisy accuracy, the number), the
    number against the noisy accuracy, and the curves of the trainings.

    Args:
        entity: User or team.
        project: Project of the runs.
        metric: Name of a number of which more is better, as loggers get it.

    Returns:
        A ``wandb_workspaces.reports.v2.Report``.

    Raises:
        InputError: If ``wandb-workspaces`` is not installed.
    """
    with extra("wandb", "a report"):
        from wandb_workspaces.reports import v2

    reports: Any = v2  # its names are not declared

    def runs(job_type: str) -> Any:
        return reports.Runset(entity, project, f"{job_type} runs", filters=f"Metric('JobType') = '{job_type}'")

    best = reports.SummaryMetric(f"{metric}.max")
    axes = [reports.Config(_SIGMA), reports.Config(_SAMPLES), reports.Config(_SEED)]
    axes += [reports.SummaryMetric(f"{_ACCURACY}.last"), best]
    coordinates = reports.ParallelCoordinatesPlot(
        columns=[reports.ParallelCoordinatesPlotColumn(metric=axis) for axis in axes],
        title="Noise, samples and what is certified",
        layout=reports.Layout(w=24, h=10),
    )
    against = reports.ScatterPlot(
        title="What robustness costs",
        x=reports.SummaryMetric(f"{_ACCURACY}.last"),
        y=best,
        layout=reports.Layout(w=12, h=9),
    )
    curves = [
        reports.LinePlot(title=name, x="trainer/global_step", y=[name], layout=reports.Layout(x=12 * place, w=12, h=8))
        for place, name in enumerate((metric, "val/accuracy"))
    ]
    return reports.Report(
        project=project,
        entity=entity,
        title="Certified attributions",
        description=f"Runs of training and certification by {metric}.",
        width="fluid",
        blocks=[
            reports.H1("Runs of certification"),
            reports.P(
                "Two certified numbers answer the same question only if images, alpha, K and the kind of budget agree."
            ),
            reports.PanelGrid(runsets=[runs("certify")], panels=[coordinates, against]),
            reports.H1("Trainings"),
            reports.P("The best of E checkpoints by a certified metric is certified only at E times alpha."),
            reports.PanelGrid(runsets=[runs("train")], panels=curves),
        ],
    )


def main(arguments: list[str] | None = None) -> None:
    """Save the report as a draft, and print its address.

    Args:
        arguments: Arguments; ``None`` uses those of the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m lit_certattr.reports.wandb_report", description=__doc__)
    parser.add_argument("project", help="ENTITY/PROJECT")
    parser.add_argument("--metric", default=METRIC, help=f"the number of the report, {METRIC} by default")
    chosen = parser.parse_args(arguments)
    entity, slash, project = chosen.project.partition("/")
    if not (entity and slash and project):
        parser.error(f"give ENTITY/PROJECT, got {chosen.project!r}")
    try:
        report = wandb_report(entity, project, chosen.metric)
    except InputError as error:
        parser.error(str(error))
    sys.stdout.write(f"{report.save(draft=True).url}\n")


if __name__ == "__main__":
    main()
