"""``certify.py evaluate``: the table that papers on robust attributions report, for any checkpoint."""

from jsonargparse import Namespace
from rich.table import Table

from lit_certattr.cli.building import apply_short_options, as_text, build_parts, name_output
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.run_names import job_label, name_loggers
from lit_certattr.cli.words import TRAINER, add_trainer_words
from lit_certattr.errors import InputError
from lit_certattr.jobs import Evaluation, evaluate
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.records.evaluation_directory import EvaluationDirectory, table_rows
from lit_certattr.reports.wandb_run import run_id
from lit_certattr.robustness.protocol import RobustnessProtocol, column_names

EVALUATE_HELP = """Measure the robustness of attribution maps under attack, without certificates, as papers do.

Examples:
  certify.py evaluate --config configs/protocol/mnist5k.yaml --checkpoint=runs/mnist5k_noise/checkpoints/best.ckpt
  certify.py evaluate --config configs/protocol/mnist.yaml --checkpoint=best.ckpt --max_images=500
  certify.py evaluate --config configs/protocol/imagenet.yaml --protocol.search.eps=0.0157

The table contains natural accuracy and adversarial accuracy. For every correctly classified image, it compares the map
with the map under the worst perturbation that was found and keeps the label: top-k intersection, Kendall, Spearman,
LENS. It adds a random search with the same number of points, and chance levels. Nothing is certified: an attack gives
an upper bound of robustness, and certify.py run proves lower bounds.

Later files and arguments override earlier ones; --seed, --max_images, --accelerator, --devices, --num_nodes,
--strategy and --threads override the settings that they replace. The output directory contains summary.md, summary.csv,
images.parquet, agreement.png and config.yaml. Run the same command again to resume after an interruption."""

_SHORT = {
    "seed": ["protocol.search.seed", "protocol.prediction_search.seed"],
    "max_images": ["data.init_args.max_images"],
} | TRAINER


def add_evaluate_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py evaluate``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(RobustnessProtocol, "protocol", help="Searches and measures of agreement")
    parser.add_function_arguments(evaluate, as_group=False, skip={"protocol", "config", "progress"})
    add_trainer_words(parser)


def evaluate_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Build the parts that the configuration names, evaluate, and print the table.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    name_output(config, "runs/evaluate")
    apply_short_options(config, _SHORT, kept=["max_images"])
    text = as_text(config)
    name_loggers(config.logger, job_label(config, "evaluate"), _earlier(config))
    parts = build_parts(parser, config)
    evaluation = evaluate(**{name: value for name, value in parts.items() if name != "config"}, config=text)
    if is_first_process():
        _print(evaluation)


def _earlier(config: Namespace) -> str | None:
    """Id of the run of W&B that shows the evaluation which this command resumes; ``None`` if there is none."""
    try:
        return None if config.overwrite else run_id(EvaluationDirectory(config.output).wandb_run())
    except InputError:
        return None  # a path that the job refuses


def _print(evaluation: Evaluation) -> None:
    searches = list(evaluation.protocol.searches)
    console = on_stdout()
    table = Table("", *searches, "chance", title=f"{len(evaluation.ids)} images: mean ± standard error")
    for what, cells, chance in table_rows(evaluation.means, searches, column_names(evaluation.protocol)):
        table.add_row(what, *cells, chance)
    console.print(table)
    console.print(f"{evaluation.directory.text}\n{evaluation.directory.images}", markup=False)
