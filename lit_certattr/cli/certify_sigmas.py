"""``certify.py sigmas``: which noise level suits a network, on a handful of images."""

from jsonargparse import Namespace
from rich.table import Table

from lit_certattr.certification import Certifier
from lit_certattr.cli.building import apply_short_options, build_parts, name_output
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.words import TRAINER, add_images_word, add_settings_of_runs, add_trainer_words
from lit_certattr.jobs import NoiseLevels, try_sigmas
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.reports.sigmas_figure import panels
from lit_certattr.statistics.rounding import counted, fixed_at_least

SIGMAS_HELP = """Try several noise levels on a few images, and name a sensible one, before a long run.

Examples:
  certify.py sigmas --config configs/certify/photographs.yaml
  certify.py sigmas --config configs/certify/photographs.yaml --sigmas=[0.1,0.2,0.3] --max_images=7 --num_samples=400
  certify.py sigmas --config configs/certify/photographs_denoised.yaml

For every noise level the table shows the share of noisy copies that the network recognises as the explained class, how
far the smoothed map agrees with the map of the clean image, and what the certificates of the configuration certify. A
denoised network is tried with and without its denoiser. Where fewer than half of the noisy copies are recognised, a
smoothed map explains a class that the network does not see: use less noise, a denoiser, or a network that was trained
with noise. Certify the images of a run with another seed than that of this trial.

sigmas.csv and sigmas.png are written to the output directory of the run with _sigmas added to its name: to
runs/certify/photographs_sigmas for the first example."""

_UNUSED = ("max_panels", "part", "split", "logger")


def add_sigmas_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py sigmas``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(Certifier, "certifier", help="Method, noise law and certificates")
    parser.add_function_arguments(try_sigmas, as_group=False, skip={"certifier", "progress"})
    add_settings_of_runs(parser, _UNUSED)
    add_images_word(parser)
    add_trainer_words(parser)


def sigmas_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Build the parts that the configuration names, try the noise levels, and print the table and the advice.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    name_output(config, "runs/certify")
    config.output = f"{config.output.rstrip('/')}_sigmas"  # the configuration is that of a run, and so is its output
    apply_short_options(config, TRAINER | {"images": ["data.init_args.root"]})
    for name in _UNUSED:
        config.pop(name)
    parts = build_parts(parser, config)
    found = try_sigmas(**{name: value for name, value in parts.items() if name != "config"})
    if is_first_process():
        _print(found)


def _print(found: NoiseLevels) -> None:
    console = on_stdout()
    for network in found.networks:
        own = [trial for trial in found.trials if trial.network == network]
        table = Table("sigma", title=f"{network} network, means over {counted(len(found.ids), 'image')}")
        for trial in own:
            table.add_column(f"{trial.sigma:g}", no_wrap=True, justify="right")
        for name, title in panels(own).items():
            values = [trial.certified.get(name, getattr(trial, name, 0.0)) for trial in own]
            table.add_row(title, *map(fixed_at_least, values))  # certified numbers are never rounded up
        console.print(table)
    console.print("\n".join(found.advice()), markup=False)
    if found.path is not None:
        console.print(f"{found.path / 'sigmas.csv'}\n{found.path / 'sigmas.png'}", markup=False)
