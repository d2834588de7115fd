"""``certify.py run``: certify every image of a data set, and write a run directory."""

import sys

from jsonargparse import Namespace

from lit_certattr.certification import Certifier
from lit_certattr.cli.building import apply_short_options, as_text, build_parts, name_output
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.run_names import job_label, name_loggers
from lit_certattr.cli.words import TRAINER, add_images_word, add_trainer_words
from lit_certattr.errors import InputError
from lit_certattr.jobs import TrainerOptions, run
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.records import RunDirectory
from lit_certattr.reports.wandb_run import KEY, run_id

__all__ = ["RUN_HELP", "TrainerOptions", "add_run_arguments", "run", "run_from_config"]

RUN_HELP = """Certify the attribution maps of a set of images.

Examples:
  certify.py run --config configs/certify/photographs.yaml
  certify.py run --config configs/certify/photographs.yaml --num_samples=2000 --max_images=3 --output=runs/more
  certify.py run --config configs/certify/mnist5k.yaml --checkpoint=runs/mnist5k_noise/checkpoints/best.ckpt
  certify.py run --config configs/certify/torchvision.yaml --images=cat.jpg --network.name=resnet18
  certify.py run --config configs/certify/photographs.yaml --print_config

Later files and arguments override earlier ones; --images, --num_samples, --seed, --max_images, --accelerator,
--devices, --num_nodes, --strategy and --threads override the settings that they replace. Run the same command again to
resume after an interruption, or with more images to add them to a finished run. The output directory
contains report.html, results.parquet, maps/, images/, figures/, config.yaml and provenance.json."""

SHORT = {
    "num_samples": ["certifier.num_samples"],
    "seed": ["certifier.seed"],
    "max_images": ["data.init_args.max_images"],
    "images": ["data.init_args.root"],
} | TRAINER


def add_run_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py run``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(Certifier, "certifier", help="Method, noise law and certificates")
    parser.add_function_arguments(run, as_group=False, skip={"certifier", "config", "progress"})
    add_images_word(parser)
    add_trainer_words(parser)


def run_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Build the parts that the configuration names, certify, and print the path of the report.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    name_output(config, "runs/certify")
    apply_short_options(config, SHORT, kept=["max_images"])
    text = as_text(config)
    name_loggers(config.logger, job_label(config, "certify"), _earlier(config))
    parts = build_parts(parser, config)
    directory = run(**{name: value for name, value in parts.items() if name != "config"}, config=text)
    if is_first_process():
        sys.stdout.write(f"{directory.report}\n{directory.table}\n")


def _earlier(config: Namespace) -> str | None:
    """Id of the run of W&B that shows the run directory which this command resumes; ``None`` if there is none."""
    try:
        return None if config.overwrite else run_id(RunDirectory(config.output).provenance().get(KEY))
    except InputError:
        return None  # a new directory, or one that the job refuses
