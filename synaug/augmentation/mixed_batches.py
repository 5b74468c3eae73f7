"""Batches with a share of synthetic images, constant or changing over the training, apart from the sizes of the sets."""

from collections.abc import Iterator, Sequence, Sized

import torch
from torch import Tensor
from torch.utils.data import Sampler, Subset

from synaug.checks import number, one_of, whole
from synaug.classifiers.training import batch_order

#: How the share goes over the training; see `share_schedule`.
ORDERS = ("mixed", "synthetic_first", "real_first", "falling")


def share_schedule(order: str, share: float, steps: int) -> Tensor:
    """The share of synthetic images at each step, float64 ``[steps]``, on average ``share``.

    order: "mixed", constant; "synthetic_first" ("real_first"), 1 (0) and then 0 (1), to the nearest step, with at least
    one step each; "falling", linearly, at share 1/2 from 0.9 to 0.1, at others by 0.8 of what they allow.
    ValueError for an unknown order, a share outside 0..1, and orders by parts without either part or with one step.
    """
    one_of("order", order, ORDERS)
    number("share", share, 0, 1)
    if order == "mixed":
        return torch.full((steps,), share, dtype=torch.float64)
    if order == "falling":
        return share + 0.8 * min(share, 1 - share) * torch.linspace(1, -1, steps, dtype=torch.float64)
    if not 0 < share < 1:
        raise ValueError(f"order {order!r} needs both real and generated images, got the share {share}")
    if steps < 2:
        raise ValueError(f"order {order!r} needs at least 2 steps, got {steps}")
    synthetic = min(max(round(steps * share), 1), steps - 1)
    at = torch.arange(steps)
    return (at < synthetic if order == "synthetic_first" else at >= steps - synthetic).double()


def mixed_order(n_real: int, n_synthetic: int, shares: Tensor, batch_size: int, seed: int) -> Tensor:
    """Places int64 ``[steps, batch_size]`` in real images followed by synthetic ones, at these shares, to the nearest
    image over all steps so far; each kind in shuffled passes of its own, as `batch_order` has them."""
    # Halves go up, all of them: to the nearest even number, steps of share 1 would have one too few or too many. The
    # least bit more makes halves of what sums of floats leave just below one.
    until = (shares.cumsum(0) * batch_size + 0.5 + 1e-9).floor().long()
    synthetic = torch.arange(batch_size) >= batch_size - until.diff(prepend=until.new_zeros(1))[:, None]
    places = torch.empty(len(shares), batch_size, dtype=torch.int64)
    # Of one seed, sets of one size would give the same places in every batch: sources beside their own copies.
    for kind, n, first, own in ((~synthetic, n_real, 0, seed), (synthetic, n_synthetic, n_real, seed + 3_000_003)):
        if count := int(kind.sum()):
            places[kind] = first + batch_order(n, 1, count, own).flatten()
    return places


class MixedBatches(Sampler[list[int]]):
    """Batches for a training loop of one's own, with a share of synthetic images::

        both = ConcatDataset([real, synthetic])  # any torch data sets
        batches = MixedBatches(real, synthetic, steps=1000, share=0.5, order="synthetic_first")
        for images, labels in DataLoader(both, batch_sampler=batches): ...  # a thousand batches, the whole training

    real, synthetic: what is joined, in this order. share: of synthetic images; one for all steps on average, which
    ``order`` spreads over them, see `share_schedule`, or a schedule of one's own, ``steps`` numbers. What a kind has to
    give is drawn in shuffled passes: a set smaller than that is repeated, one that is larger is not used up.
    The same batches at every iteration; those of another seed are others.
    ValueError, before the first batch, for shares outside 0..1, an unknown order, a set that is empty where the share
    needs it, and sets that name other classes or name them in another order (their labels would mean different things).
    """

    def __init__(
        self, real: Sized, synthetic: Sized, *, steps: int, share: float | Sequence[float] = 0.5, order: str = "mixed", batch_size: int = 128, seed: int = 0
    ):
        steps, batch_size, seed = whole("steps", steps, 1), whole("batch_size", batch_size, 1), whole("seed", seed, 0)
        ours, theirs = _class_names(real), _class_names(synthetic)
        if ours and theirs and ours != theirs:
            raise ValueError(
                f"the real images have the classes {', '.join(ours)}, the synthetic ones "
                f"{', '.join(theirs)}: labels must mean the same, so map them first, or take "
                f"synaug.augmentation.with_synthetic, which goes by names"
            )
        if isinstance(share, (int, float)):
            shares = share_schedule(order, share, steps)
        else:
            shares = torch.as_tensor(share, dtype=torch.float64)
            if order != "mixed" or shares.shape != (steps,) or not ((shares >= 0) & (shares <= 1)).all():
                raise ValueError(
                    f"a schedule of shares is {steps} numbers in 0..1, one per step, and takes no order; got "
                    f"{list(shares.shape)} from {shares.min():g} to {shares.max():g}, order {order!r}"
                )
        for kind, dataset, needed in (("real", real, (shares < 1).any()), ("synthetic", synthetic, (shares > 0).any())):
            if needed and len(dataset) == 0:
                raise ValueError(f"there are no {kind} images, and the share asks for some")
        self.batches = mixed_order(len(real), len(synthetic), shares, batch_size, seed)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches.tolist())

    def __len__(self) -> int:
        return len(self.batches)


def _class_names(dataset) -> tuple[str, ...]:
    """The names that a data set has for its classes; empty where it has none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return tuple(map(str, getattr(dataset, "class_names", getattr(dataset, "classes", ()))))
