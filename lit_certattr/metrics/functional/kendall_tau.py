"""Kendall's tau-b in O(n log n): SciPy's on a CPU, one without waiting for the device on an accelerator."""

import torch
from scipy import stats
from torch import Tensor

from lit_certattr.devices import values_are_free, wide
from lit_certattr.metrics.functional.pairs import checked_pair
from lit_certattr.metrics.functional.ranking import ties


def kendall(clean: Tensor, perturbed: Tensor) -> Tensor:
    r"""Kendall's rank correlation, with ties (tau-b): :math:`(C - D) / \sqrt{(P - T_a)(P - T_b)}`.

    P is the number of pairs of pixels, C and D the numbers of pairs that both maps order in the same and in opposite
    ways, and :math:`T_a`, :math:`T_b` the numbers of pairs that tie in each map. (torchmetrics compares all pairs: 1.3
    billion at 224 x 224.)

    Args:
        clean: Maps of the clean images ``[..., H, W]``, finite, any float type.
        perturbed: Maps of the perturbed images, same shape.

    Returns:
        Float32 ``[...]`` in [-1, 1]; NaN where a map is constant.

    Raises:
        InputError: If the maps do not fit each other or are not finite.

    Example:
        >>> kendall(torch.tensor([[1.0, 2.0], [2.0, 3.0]]), torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
        tensor(0.4000)
    """
    both = checked_pair(clean, perturbed).flatten(-2)
    if not values_are_free(both) or both.shape[-1] < 2:  # SciPy warns of single pixels
        return tau_b(*both).float().view(clean.shape[:-2])
    pairs = zip(*both.numpy(), strict=True)
    return torch.tensor([stats.kendalltau(a, b).statistic for a, b in pairs]).float().view(clean.shape[:-2])


def tau_b(first: Tensor, second: Tensor) -> Tensor:
    """:func:`kendall` of rows ``[B, N]`` at once.

    After sorting by the first map, ties by the second, a pair is discordant if and only if the second map decreases
    from the earlier to the later pixel (Knight, 1966), so D is a number of inversions.

    Args:
        first: Maps as rows ``[B, N]``.
        second: Rows of the same shape.
    """
    n = first.shape[1]
    (low, high), (other_low, other_high) = ties(first), ties(second)
    joint = low * n + other_low
    by_first = joint.argsort(dim=1)
    by_second = other_low.gather(1, by_first).argsort(dim=1, stable=True)
    places = torch.arange(n, device=first.device).expand(first.shape)
    discordant = inversions(torch.empty_like(by_second).scatter_(1, by_second, places))
    joint_low, joint_high = ties(joint)
    pairs = n * (n - 1) // 2
    tied, other_tied, joint_tied = (
        (b - a).sum(1) // 2 for a, b in ((low, high), (other_low, other_high), (joint_low, joint_high))
    )
    surplus = pairs - tied - other_tied + joint_tied - 2 * discordant
    return wide(surplus) / (wide(pairs - tied).sqrt() * wide(pairs - other_tied).sqrt())


def inversions(orders: Tensor) -> Tensor:
    """Number of pairs i < j with ``orders[i] > orders[j]`` of each permutation of 0 .. N - 1, ``[B, N]`` to ``[B]``.

    Bit by bit from the highest: among numbers that agree in all higher bits, which stand together in their order of
    appearance, an inversion decided by this bit is a one before a zero. Then zeros go before ones, each in their
    order. Blocks are full because N is filled up to a power of two with numbers in their places.

    Args:
        orders: Permutations of 0 .. N - 1, int64 ``[B, N]``.

    Example:
        >>> inversions(torch.tensor([[2, 0, 1], [0, 1, 2]]))
        tensor([2, 0])
    """
    batch, n = orders.shape
    bits = (n - 1).bit_length()
    filling = torch.arange(n, 2**bits, dtype=orders.dtype, device=orders.device).expand(batch, -1)
    orders = torch.cat([orders, filling], dim=1)
    count = orders.new_zeros(batch, dtype=torch.int64)
    for bit in reversed(range(bits)):
        blocks = orders.view(batch, -1, 2 << bit)
        ones = (blocks >> bit) & 1
        before = ones.cumsum(-1)
        count = count + (before * (1 - ones)).sum((1, 2))
        place = torch.arange(2 << bit, device=orders.device)
        place = torch.where(ones.bool(), before - 1 + (1 << bit), place - before)
        orders = torch.empty_like(blocks).scatter_(-1, place, blocks).view(batch, -1)
    return count
