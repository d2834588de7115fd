"""``certify.py plan``: what a run will cost, from a few samples."""

import sys
from collections.abc import Mapping

from jsonargparse import Namespace
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lit_certattr.certification import Certifier
from lit_certattr.cli.building import apply_short_options, build_parts
from lit_certattr.cli.certify_run import SHORT
from lit_certattr.cli.errors import OneLineParser
from lit_certattr.cli.output import on_stdout
from lit_certattr.cli.words import add_images_word, add_settings_of_runs, add_trainer_words
from lit_certattr.jobs import Plan, plan
from lit_certattr.jobs.measuring import Cost
from lit_certattr.jobs.trainer import is_first_process
from lit_certattr.statistics.rounding import counted

PLAN_HELP = """Tell what a run will cost, from a few samples of its first image, before a long night.

Examples:
  certify.py plan --config configs/certify/photographs.yaml
  certify.py plan --config configs/certify/photographs.yaml --num_samples=10000 --max_images=200 --devices=4
  certify.py plan --config configs/certify/mnist5k.yaml --methods=all
  certify.py plan --config configs/certify/mnist5k.yaml --methods=[GradCAM,RISE] --seconds=5
  certify.py plan --config configs/certify/mnist5k.yaml --compiled

The configuration is that of the run. Printed are: samples per second, as configured and in other precisions and memory
formats; forward and backward passes per sample, by arithmetic; time on one device and on --devices; disk and memory;
and the smallest number of samples with which anything can be certified at this alpha and tau. Nothing is written. The
time is that of sampling: figures and the report come on top, and sampling that may stop early takes less. --compiled
adds the network compiled by torch.compile (--certifier.compile_mode): its time includes compiling, once per process.

Another precision or memory format, or a compiled network, is another explainer: its numbers differ, and the record of a
run binds them. Choose before the run, not after looking at what each certifies."""

_UNUSED = ("output", "overwrite", "radii", "max_panels", "part", "split", "logger")


def add_plan_arguments(parser: OneLineParser) -> None:
    """Declare the settings of ``certify.py plan``.

    Args:
        parser: Parser of the command.
    """
    parser.add_argument("--config", action="config", help="YAML file of settings; may be given several times.")
    parser.add_class_arguments(Certifier, "certifier", help="Method, noise law and certificates")
    parser.add_function_arguments(plan, as_group=False, skip={"certifier", "progress"})
    add_settings_of_runs(parser, _UNUSED)
    add_images_word(parser)
    add_trainer_words(parser)


def plan_from_config(parser: OneLineParser, config: Namespace) -> None:
    """Build the parts that the configuration names, time some samples, and print the costs.

    Args:
        parser: Parser of the command.
        config: The parsed configuration.
    """
    apply_short_options(config, SHORT, kept=["max_images"])
    for name in _UNUSED:
        config.pop(name)
    parts = build_parts(parser, config)
    found = plan(**{name: value for name, value in parts.items() if name != "config"})
    if is_first_process():
        _print(found)


def _print(found: Plan) -> None:
    console = on_stdout(soft_wrap=False, width=200)
    console.print(
        f"{counted(found.num_images, 'image')}, {counted(found.num_samples, 'sample')} each, on {found.device}: "
        f"{found.configured.method}",
        markup=False,
    )
    own, *others = found.modes
    names = {cost.name: cost for cost in (own, *(cost for cost in others if cost.refused is None))}
    console.print(_table(found, "mode (the first is the configured one)", names))
    usable = {cost.method.partition("(")[0]: cost for cost in found.methods if cost.refused is None}
    if usable:
        console.print(_table(found, "method, with its defaults", usable))
    lines = [f"{cost.name}: {cost.refused}" for cost in others if cost.refused is not None]
    lines += [f"{cost.method.partition('(')[0]}: {cost.refused}" for cost in found.methods if cost.refused is not None]
    sys.stdout.write("\n".join([*lines, *_lines(found)]) + "\n")


def _table(found: Plan, title: str, costs: Mapping[str, Cost]) -> Table:
    table = Table(title, box=SIMPLE_HEAD)
    on_accelerator, several = found.device != "cpu", found.devices > 1
    columns = ["samples per second", "forward", "backward", "smallest n", "disk"]
    columns += ["memory"] if on_accelerator else []
    columns += ["1 device"] + ([f"{found.devices} devices"] if several else [])
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for name, cost in costs.items():
        disk = None if cost.bytes_per_image is None else found.num_images * cost.bytes_per_image
        speed = "too slow" if cost.samples_per_second is None else _number(cost.samples_per_second)
        smallest = str(cost.enough) if cost.smallest else "-"
        numbers = [speed, _number(cost.forward), _number(cost.backward), smallest, _size(disk)]
        numbers += [_size(cost.memory)] if on_accelerator else []
        table.add_row(name, *numbers, *(_time(found.hours(cost, k)) for k in dict.fromkeys((1, found.devices))))
    return table


def _lines(found: Plan) -> list[str]:
    """What the table cannot say."""
    own = found.configured
    if own.refused is not None:
        return [f"as configured, nothing can be timed: {own.refused}"]
    smallest = ", ".join(f"{name} {number}" for name, number in own.smallest.items())
    lines = [f"smallest number of samples that can certify anything: {smallest}"] if smallest else []
    if found.device == "cpu":
        lines.append(
            f"memory: {_size(own.memory)}, the peak of this process; several processes share the cores of a CPU"
        )
    return lines + found.advice()


def _number(value: float | None) -> str:
    """A number with three digits.

    Example:
        >>> _number(None), _number(1234.5), _number(0.01234)
        ('-', '1230', '0.0123')
    """
    if value is None:
        return "-"
    return f"{float(f'{value:.3g}'):g}"


def _time(hours: float | None) -> str:
    """A time in the unit that suits it.

    Example:
        >>> _time(None), _time(0.001), _time(0.5), _time(31.06)
        ('-', '3.6 s', '30 min', '31.1 h')
    """
    if hours is None:
        return "-"
    if hours >= 1:
        return f"{_number(hours)} h"
    return f"{_number(hours * 60)} min" if hours >= 1 / 60 else f"{_number(hours * 3600)} s"


def _size(value: float | None) -> str:
    """A number of bytes in words.

    Example:
        >>> _size(None), _size(500), _size(3 * 2**20)
        ('-', '0.5 KiB', '3.0 MiB')
    """
    if value is None:
        return "-"
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024 or unit == "GiB":
            return f"{value:.1f} {unit}"
    raise AssertionError
