"""Options with the same name in every command of ``certify.py``."""

from collections.abc import Sequence
from inspect import signature

from lit_certattr.cli.errors import OneLineParser
from lit_certattr.jobs import run

TRAINER = {name: [f"trainer.{name}"] for name in ("accelerator", "devices", "num_nodes", "strategy", "threads")}
"""Settings that the short options of :func:`add_trainer_words` replace."""

RENAMED = {"samples": "num_samples"} | {setting: name for name, (setting,) in TRAINER.items()}
"""New names of options by their old ones."""

ABSENT = {
    "plan": {
        "sigmas": "plan tells what a run costs; certify.py sigmas tries noise levels",
        "agreement_k": "plan tells what a run costs; certify.py sigmas tries noise levels",
    },
    "evaluate": {
        "num_samples": "evaluate draws no noisy samples; protocol.search.steps and protocol.search.restarts set the "
        "effort of its searches"
    },
    **{
        command: dict.fromkeys(
            ("num_samples", "seed", *TRAINER, "checkpoint"),
            f"{command} reads finished runs: it loads no network and draws no noise",
        )
        for command in ("compare", "export", "merge", "recertify")
    },
    "status": dict.fromkeys(
        ("num_samples", "seed", "output", "overwrite", *TRAINER, "checkpoint"),
        "status only reads what a run has written",
    ),
    "audit": dict.fromkeys(("output", "overwrite"), "audit writes nothing, so there is nothing to place or delete"),
}
"""Why a command lacks an option that other commands have."""


def add_import_word(parser: OneLineParser) -> None:
    """Declare the option that allows a package to be imported.

    Args:
        parser: Parser of a command that reads a run directory.
    """
    parser.add_argument(
        "--import",
        action="append",
        type=str,
        metavar="PACKAGE",
        default=[],
        help="Import this package, which runs its code, and treat its certificates, results, methods and noise laws "
        "like those of this package; may be given several times. Nothing is imported from the run directory.",
    )


def add_images_word(parser: OneLineParser) -> None:
    """Declare a short option for the images of the user, which replaces ``data.init_args.root``.

    Args:
        parser: Parser of a command with the setting ``data``.
    """
    parser.add_argument(
        "--images", type=str | None, help="Folder of images, or one image file; replaces data.init_args.root."
    )


def add_settings_of_runs(parser: OneLineParser, settings: Sequence[str]) -> None:
    """Declare settings of ``certify.py run`` for a command that takes the configuration of a run and does not use them.

    Args:
        parser: Parser of the command.
        settings: Names of the settings.
    """
    for name in settings:
        kind = signature(run).parameters[name]
        parser.add_argument(
            f"--{name}",
            type=kind.annotation,
            default=kind.default,
            help=f"{name} of a run: allowed, since this command takes the configuration of a run as it is, and unused.",
        )


def add_trainer_words(parser: OneLineParser) -> None:
    """Declare short options for machines, devices and threads, which replace settings of ``trainer``.

    Args:
        parser: Parser of a command with these settings.
    """
    parser.add_argument("--accelerator", type=str | None, help="cpu, cuda, ...; replaces trainer.accelerator.")
    parser.add_argument("--devices", type=int | str | None, help="Number of devices; replaces trainer.devices.")
    parser.add_argument("--num_nodes", type=int | None, help="Number of machines; replaces trainer.num_nodes.")
    parser.add_argument("--strategy", type=str | None, help="Lightning's strategy; replaces trainer.strategy.")
    parser.add_argument("--threads", type=int | None, help="CPU threads per process; replaces trainer.threads.")
