"""Names, groups and tags of runs in the loggers, made from the configuration where the user gives none."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import Namespace

from lit_certattr.cli.building import plain

PROJECT = "lit-certattr"
"""Project of W&B where the user names none: training and certification are compared in one."""
_UNNAMED = "lightning_logs"
"""Lightning's name for what has none."""


class RunLabel(NamedTuple):
    """How a run is called.

    Attributes:
        name: e.g. ``digits-noise_augmentation-s0.25-seed0``.
        group: The name without the seed: runs of one group repeat each other.
        job_type: What the run does, e.g. ``train`` or ``certify``.
        tags: Data, network and method.
    """

    name: str
    group: str
    job_type: str
    tags: tuple[str, ...]


def training_label(config: Any, job_type: str = "train") -> RunLabel:
    """The label of a training: data, objective, noise and seed.

    Args:
        config: Configuration of ``train.py``.
        job_type: ``train``, ``validate`` or ``test``.
    """
    settings = plain(config)
    data, model = _word(settings.get("data")), settings.get("model") or {}
    method = _word(model.get("objective")) or ("denoiser" if model.get("denoiser") else "")
    sigma = next(_sigmas(model.get("objective")), model.get("sigma"))
    network = _word(model.get("net") or model.get("denoiser"))
    return _label(job_type, [data, method, _sigma(sigma)], settings.get("seed_everything"), [data, network, method])


def job_label(config: Any, job_type: str) -> RunLabel:
    """The label of a run of ``certify.py``: checkpoint or data and network, method, noise, samples and seed.

    Args:
        config: Configuration of the command.
        job_type: ``certify`` or ``evaluate``.
    """
    settings = plain(config)
    part = settings.get("certifier") or settings.get("protocol") or {}
    data, network = _word(settings.get("data")), _network(settings)
    method, samples = _word(part.get("attribution")), part.get("num_samples")
    words = [data if not network.startswith(data) else "", network, method, _sigma(next(_sigmas(part), None))]
    seed = part.get("seed", (part.get("search") or {}).get("seed"))
    laws = [_word(part.get("noise"))]
    return _label(job_type, [*words, f"n{samples}" if samples else ""], seed, [data, network, method, *laws])


def name_loggers(loggers: Any, label: RunLabel, run_id: str | None = None) -> None:
    """Give the loggers of a configuration what the user has left open.

    What stands in the configuration or on the command line stays, and so do W&B's environment variables. The runs of a
    sweep keep the names that W&B counts.

    Args:
        loggers: One logger or several, as parsed: class paths and arguments.
        label: The label of the run.
        run_id: Id of an earlier run of W&B that this one continues.
    """
    for one in loggers if isinstance(loggers, list) else [loggers]:
        kind, arguments = str(getattr(one, "class_path", "")).rpartition(".")[2], getattr(one, "init_args", None)
        if arguments is None:
            continue
        if kind == "WandbLogger":
            _fill(arguments, resume="allow", **_for_wandb(label))
            if run_id is not None and arguments.get("version") is None:
                _fill(arguments, id=run_id)
        elif kind == "MLFlowLogger":
            tags = {"job_type": label.job_type, "group": label.group} | dict.fromkeys(label.tags, "")
            _fill(arguments, run_name=label.name, tags=tags)
        elif kind == "TensorBoardLogger" and arguments.get("name") == _UNNAMED:
            arguments["name"] = label.name


def _for_wandb(label: RunLabel) -> dict[str, Any]:
    known = {
        "name": (label.name, "WANDB_NAME"),
        "group": (label.group, "WANDB_RUN_GROUP"),
        "job_type": (label.job_type, "WANDB_JOB_TYPE"),
        "tags": (list(label.tags), "WANDB_TAGS"),
        "project": (PROJECT, "WANDB_PROJECT"),
    }
    own = {key: value for key, (value, variable) in known.items() if variable not in os.environ}
    if "WANDB_SWEEP_ID" in os.environ:
        own.pop("name", None)
    return own


def _fill(arguments: Namespace, **values: Any) -> None:
    for key, value in values.items():
        if arguments.get(key) is None:
            arguments[key] = value


def _label(job_type: str, words: Sequence[str], seed: Any, tags: Sequence[str]) -> RunLabel:
    group = "-".join(filter(None, words))[:100] or job_type
    numbered = isinstance(seed, int) and not isinstance(seed, bool)
    return RunLabel(
        f"{group}-seed{seed}" if numbered else group, group, job_type, tuple(dict.fromkeys(filter(None, tags)))
    )


def _word(part: Any) -> str:
    """The class of a part of the configuration, in small letters, e.g. ``noise_augmentation``."""
    path = part.get("class_path") if isinstance(part, Mapping) else part
    name = str(path or "").rpartition(".")[2]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name)
    return re.sub(r"\W", "", spaced).lower()[:60]


def _network(settings: Mapping[str, Any]) -> str:
    """The training whose checkpoint is certified, or the class of the network."""
    checkpoint = settings.get("checkpoint")
    if not checkpoint:
        return _word(settings.get("network"))
    path = Path(str(checkpoint))
    name = path.parent.parent.name if path.parent.name == "checkpoints" else path.stem
    return re.sub(r"[^\w.-]", "_", name or path.stem)[:60]


def _sigmas(part: Any) -> Iterator[Any]:
    """Every noise level in a part of the configuration."""
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == "sigma" and value is not None:
                yield value
            else:
                yield from _sigmas(value)
    elif isinstance(part, list):
        for one in part:
            yield from _sigmas(one)


def _sigma(value: Any) -> str:
    if isinstance(value, list) and value and all(isinstance(one, int | float) for one in value):
        return f"s{value[0]:g}to{value[-1]:g}"
    return f"s{value:g}" if isinstance(value, int | float) else ""
