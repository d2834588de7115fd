"""Options that every command of ``certify.py`` has under one name."""

from lit_certattr.cli.errors import OneLineParser

TRAINER = {name: [f"trainer.{name}"] for name in ("accelerator", "devices", "threads")}
"""Settings behind the short options of :func:`add_trainer_words`."""

RENAMED = {"samples": "num_samples"} | {setting: name for name, (setting,) in TRAINER.items()}
"""New names of options by their old ones."""


def add_import_word(parser: OneLineParser) -> None:
    """Declare the option that allows a package to be imported.

    Args:
        parser: Of a command that reads the directory of a run.
    """
    parser.add_argument(
        "--import",
        action="append",
        type=str,
        metavar="PACKAGE",
        default=[],
        help="Import this package, on your word, and treat its certificates, results, methods and noise laws like "
        "those of this package; may be given several times. Nothing is imported from the run directory.",
    )


def add_trainer_words(parser: OneLineParser) -> None:
    """Declare the options that say where the work is done, beside the settings ``trainer`` of a configuration.

    Args:
        parser: Of a command that has these settings.
    """
    parser.add_argument("--accelerator", type=str | None, help="In place of trainer.accelerator: cpu, cuda, ...")
    parser.add_argument("--devices", type=int | str | None, help="In place of trainer.devices: number of devices.")
    parser.add_argument("--threads", type=int | None, help="In place of trainer.threads: CPU threads per process.")
