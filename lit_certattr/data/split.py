"""Shuffles and splits that are the same on every machine and in every version."""

from collections.abc import Sequence

import numpy as np


def balanced_order(targets: Sequence[int], seed: int = 0) -> list[int]:
    """A fixed shuffle in which every prefix holds the classes in proportion.

    The first ``num_classes`` images of a balanced set contain one image of each class. So a small ``max_images`` still
    covers every class, and consecutive slices are stratified splits.

    Args:
        targets: The class of each image; images without a label form one class.
        seed: Determines the shuffle.

    Returns:
        The indices 0 .. N-1 in their new order.

    Example:
        >>> sorted([0, 0, 0, 1, 1, 1][i] for i in balanced_order([0, 0, 0, 1, 1, 1])[:2])
        [0, 1]
    """
    # RandomState is the one generator of NumPy whose stream is frozen; a split must survive upgrades.
    order = np.random.RandomState(seed).permutation(len(targets))
    labels = np.asarray(targets)[order]
    position = np.empty(len(order))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return [int(i) for i in order[np.argsort(position, kind="stable")]]
