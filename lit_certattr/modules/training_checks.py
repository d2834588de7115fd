"""Checks before and during training: a fault stops it early, with one line that names the remedy."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor, nn

from lit_certattr.attribution import frozen
from lit_certattr.data import NO_LABEL, ImageDataModule, Sample, SampleSet
from lit_certattr.errors import InputError
from lit_certattr.models.compiled import is_compiled
from lit_certattr.objectives import Objective
from lit_certattr.preflight import check_network, logits_of


def check_data(net: nn.Module, data: ImageDataModule) -> None:
    """Check that images and labels fit a network that declares ``input_size`` or ``num_classes``.

    Args:
        net: The network.
        data: Data whose ``setup`` has run.

    Raises:
        InputError: If the images have another size, there are more classes than logits, a label is missing or out of
            range, or a set of images is empty.
    """
    network, name = type(net).__name__, type(data).__name__
    size, num_classes = getattr(net, "input_size", None), getattr(net, "num_classes", None)
    if size is not None and tuple(size) != tuple(data.image_shape):
        raise InputError(f"{name} has images of {tuple(data.image_shape)}, but {network} takes {tuple(size)}")
    if num_classes is not None and data.num_classes > num_classes:
        raise InputError(f"{name} has {data.num_classes} classes, but {network} has num_classes={num_classes}")
    for kind, samples in (("training", data.train_set), ("validation", data.val_set), ("test", data.test_set)):
        if samples is None:
            continue
        if not len(samples):
            raise InputError(f"{name} has no {kind} images: the set is empty")
        if NO_LABEL in samples.targets:
            unlabelled = samples.ids[samples.targets.index(NO_LABEL)]
            raise InputError(f"image {unlabelled} has no label; training and testing need one for every image")
        _check_labels(samples, data.num_classes, name)


def check_logits_fit(net: nn.Module, data: ImageDataModule) -> None:
    """Pass two images through the network, in eval mode, and compare its logits with the classes of the data.

    Args:
        net: The network; it stays unchanged.
        data: Data whose ``setup`` has run.

    Raises:
        InputError: If the network fails, returns anything but finite logits ``[B, C]`` of at least two classes, or of
            fewer classes than the data has.
    """
    images = data.first_images()
    if images is not None:
        highest = max(data.num_classes, 1) - 1  # of a user's module the number may be unknown
        check_batch(net, images, torch.tensor([highest]), f"images of {type(data).__name__}")


def check_batch(net: nn.Module, images: Tensor, targets: Tensor, name: str = "the training images") -> int:
    """Check a training batch: the logits of two of its images, and all its labels.

    Args:
        net: The network; it stays unchanged.
        images: Images ``[B, C, H, W]``.
        targets: Class indices.
        name: Name of the images in messages.

    Returns:
        The number of logits.

    Raises:
        InputError: As :func:`check_logits_fit`, or if there is no logit for a label.
    """
    with frozen(check_network(net)), torch.no_grad():
        num_logits = logits_of(net, images[:2], name).shape[1]
    check_targets_fit(net, targets, num_logits)
    return num_logits


def check_targets_fit(net: nn.Module, targets: Tensor, num_logits: int) -> None:
    """Check that there is a logit for every label.

    Args:
        net: The network, named in the message.
        targets: Class indices.
        num_logits: Number of logits.

    Raises:
        InputError: If a label is negative, or not below the number of logits.
    """
    highest, lowest = int(targets.max()), int(targets.min())
    if highest >= num_logits:
        raise InputError(
            f"{type(net).__name__} has {num_logits} logits, but there is a label {highest}: it needs at least "
            f"{highest + 1}; set num_classes of the network to the number of classes"
        )
    if lowest < 0:
        raise InputError(f"there is a label {lowest}; training and testing need a class from 0 for every image")


def check_checkpoint(module: LightningModule, checkpoint: Mapping[str, Any], fits: bool) -> None:
    """Check that a module can continue from a checkpoint of a Trainer.

    Args:
        module: Receives the weights.
        checkpoint: What the file holds.
        fits: Whether training continues, so that optimizers and progress are needed too.

    Raises:
        InputError: If names or shapes of weights differ, or something is missing.
    """
    own, state = module.state_dict(), checkpoint.get("state_dict")
    if not isinstance(state, Mapping):
        raise InputError("the checkpoint holds no state_dict: lit-certattr train did not write it, or it is damaged")
    shapes = [name for name in own if name in state and own[name].shape != getattr(state[name], "shape", None)]
    for kind, names in (
        ("lacks", [name for name in own if name not in state]),
        ("has the unexpected", [name for name in state if name not in own]),
        ("has another shape for", shapes),
    ):
        if names:
            raise InputError(
                f"the checkpoint is of another network: it {kind} {', '.join(map(str, names[:3]))}"
                f"{', ...' * (len(names) > 3)}; use the configuration of its run (config.yaml beside its checkpoints)"
            )
    loops = checkpoint.get("loops")
    if fits and not (isinstance(loops, Mapping) and "fit_loop" in loops and checkpoint.get("optimizer_states")):
        raise InputError("training cannot be resumed from this checkpoint: it lacks the optimizer or the progress")


def check_optimizers(trainer: Trainer) -> None:
    """Check that the optimizers are of the type whose state the checkpoint holds.

    Args:
        trainer: Trainer that has restored its optimizers.

    Raises:
        InputError: If a setting of the optimizer is missing.
    """
    for optimizer in trainer.optimizers:
        for group in optimizer.param_groups:
            missing = [name for name in optimizer.defaults if name not in group]
            if missing:
                raise InputError(
                    f"the checkpoint was trained with another optimizer than {type(optimizer).__name__} (it has no "
                    f"{missing[0]!r}): resume with the same one"
                )


def ids_of(batch: Sample, trainer: Trainer) -> list[str] | None:
    """The ids of the images of a training batch; ``None`` if there are none, or the images are changed at random.

    Whether they are is what the attribute ``augment`` of their data set says, also inside a ``Subset`` or a
    ``ConcatDataset``; a data set of another kind that changes its images must give no ids.

    Args:
        batch: The batch.
        trainer: The Trainer, for its training data.
    """
    dataset = getattr(trainer.train_dataloader, "dataset", None)
    ids = getattr(batch, "id", None)
    if dataset is None or _augments(dataset) or not isinstance(ids, list):
        return None
    return ids if len(ids) == len(batch.image) and all(isinstance(one, str) for one in ids) else None


def _augments(dataset: object) -> bool:
    inner = [getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or [])]
    return getattr(dataset, "augment", None) is not None or any(_augments(one) for one in inner if one is not None)


def check_loss(loss: Tensor, net: nn.Module, trainer: Trainer, batch_idx: int) -> None:
    """Stop a training whose loss is NaN or infinite.

    Args:
        loss: The loss, a scalar.
        net: The network.
        trainer: The Trainer, for the place and the remedy.
        batch_idx: Index of the batch in its epoch.

    Raises:
        InputError: If it is; the message names the step, the remedies and the checkpoint that is kept.
    """
    if not bool(torch.isfinite(loss.detach()).all()):
        raise InputError(
            f"the training loss is {float(loss.detach().float().mean())} in epoch {trainer.current_epoch}, step "
            f"{trainer.global_step} (batch {batch_idx} of the epoch): training stopped; {_remedies(trainer)}"
        )


def check_weights(net: nn.Module, trainer: Trainer) -> None:
    """Stop a training whose last step made a weight NaN or infinite, before the weights overwrite a checkpoint.

    Args:
        net: The network.
        trainer: The Trainer, for the place and the remedy.

    Raises:
        InputError: If there is such a weight; the message names the first.
    """
    for name, value in net.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise InputError(
                f"weight {name} holds NaN or infinity after epoch {trainer.current_epoch}, step {trainer.global_step}: "
                f"training stopped; {_remedies(trainer)}"
            )


def _remedies(trainer: Trainer) -> str:
    saved = next((path for one in trainer.checkpoint_callbacks if (path := getattr(one, "saved", None))), None)
    kept = "" if saved is None else f"; the last whole epoch is kept in {saved}"
    return (
        "choose a smaller learning rate, clip gradients (--trainer.gradient_clip_val=1), or use a higher precision "
        f"(--trainer.precision=32-true){kept}"
    )


def is_not_finite(output: Any) -> bool:
    """Whether a network has returned a floating-point matrix with NaN or infinite values.

    Args:
        output: What the network returned.
    """
    numbers = isinstance(output, Tensor) and output.ndim == 2 and output.is_floating_point()
    return numbers and not bool(torch.isfinite(output).all())


def optimizer_overflow(error: Exception, trainer: Trainer) -> InputError:
    """The error of an optimizer step that cannot be computed, as one line.

    Args:
        error: The error of the optimizer.
        trainer: The Trainer, for the place and the remedy.
    """
    return InputError(
        f"the optimizer cannot take step {trainer.global_step} in epoch {trainer.current_epoch} ({error}): training "
        f"stopped; {_remedies(trainer)}"
    )


def check_some_training(trainer: Trainer) -> None:
    """Check that training had at least one batch.

    Args:
        trainer: Trainer whose ``fit`` has ended.

    Raises:
        InputError: If the training data gave no batch.
    """
    if trainer.num_training_batches == 0 and trainer.limit_train_batches != 0:
        raise InputError(
            "nothing was trained: the training data make no batch; give at least one image, and at least batch_size "
            "images with drop_last"
        )


def check_objective(net: nn.Module, objective: Objective, precision: str) -> None:
    """Check that a network can be trained on an objective with second derivatives.

    Args:
        net: The network.
        objective: The objective; one of first order is always accepted.
        precision: Precision of the Trainer.

    Raises:
        InputError: If the network is compiled (``torch.compile`` has no second derivative), or the precision is
            float16, in which gradients of gradients underflow before the gradient scaler sees them.
    """
    if objective.order < 2:
        return
    name = type(objective).__name__
    if any(is_compiled(part) for part in net.modules()):
        raise InputError(
            f"{name} differentiates the network twice, which torch.compile does not support: train it uncompiled"
        )
    if precision in ("16-true", "16-mixed", "transformer-engine-float16"):
        raise InputError(
            f"{name} differentiates the network twice: second derivatives underflow in precision {precision}; use "
            "bf16-mixed or 32-true"
        )


def _check_labels(samples: SampleSet, num_classes: int, name: str) -> None:
    for label, image_id in zip(samples.targets, samples.ids, strict=True):
        if not 0 <= label < num_classes:
            raise InputError(
                f"image {image_id} has the label {label}, but {name} has the classes 0 to {num_classes - 1}"
            )
