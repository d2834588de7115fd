"""``certify.py evaluate``: the usual table of the literature on robust attributions, for any checkpoint."""

import sys

from jsonargparse import Namespace
from rich.console import Console
from rich.table import Table

from lit_certattr.cli.building import apply_short_options, as_text, build_parts, name_output
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.words import TRAINER, add_trainer_words
from lit_certattr.jobs import Evaluation, evaluate
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.records.evaluation_directory import table_rows
from lit_certattr.robustness.protocol import RobustnessProtocol, column_names

EVALUATE_HELP = """Evaluate the robustness of plain attributions, as the literature does.

Examples:
  certify.py evaluate --config configs/protocol/mnist5k.yaml --checkpoint=runs/mnist5k_noise/checkpoints/best.ckpt
  certify.py evaluate --config configs/protocol/mnist.yaml --checkpoint=best.ckpt --max_images=500
  certify.py evaluate --config configs/protocol/imagenet.yaml --protocol.search.eps=0.0157

Natural accuracy, adversarial accuracy, and for every correctly classified image the agreement of its map with that of
the worst perturbation found that keeps the label: top-k intersection, Kendall, Spearman, LENS; random search of equally
many points and chance levels beside them. Nothing here is certified: an attack shows an upper bound of robustness
(certify.py run proves lower ones).

Later files and arguments win over earlier ones; --seed, --max_images, --accelerator, --devices and --threads win over
the settings that they stand for. The output directory holds summary.md, summary.csv, images.parquet, agreement.png and
config.yaml. The same command resumes an evaluation that was interrupted."""

_SHORT = {
    "seed": ["protocol.search.seed", "protocol.prediction_search.seed"],
    "max_images": ["data.init_args.max_images"],
} | TRAINER


def add_evaluate_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py evaluate``."""
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(RobustnessProtocol, "protocol", help="What is searched and compared")
    parser.add_function_arguments(evaluate, as_group=False, skip={"protocol", "config", "progress"})
    add_trainer_words(parser)


def evaluate_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Build what the configuration names, evaluate, and print the table."""
    name_output(config, "runs/evaluate")
    apply_short_options(config, _SHORT)
    text = as_text(config)
    parts = build_parts(parser, config)
    evaluation = evaluate(**{name: value for name, value in parts.items() if name != "config"}, config=text)
    if is_first_process():
        _print(evaluation)


def _print(evaluation: Evaluation) -> None:
    searches = list(evaluation.protocol.searches)
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    table = Table("", *searches, "chance", title=f"{len(evaluation.ids)} images: mean ± standard error")
    for what, cells, chance in table_rows(evaluation.means, searches, column_names(evaluation.protocol)):
        table.add_row(what, *cells, chance)
    console.print(table)
    console.print(f"{evaluation.directory.text}\n{evaluation.directory.images}", markup=False)
