"""What the gradient of a classifier on a training set is made of: how it varies over mini-batches and over training
sets, and how it aligns with single examples.

The network is fixed and in evaluation mode, where an example's gradient g does not depend on the others of its batch.
A training set has members, each of a source (a real image; its generated versions are members of the same source) and
of a group (say, the slow examples of one class). A set's gradient is the weighted mean of its members' gradients; an
upsampled example is one member of more weight. An example's residual is what its gradient has beyond its group's mean.

All statistics follow from inner products of gradients (`gradient_products`), which are taken in pieces: a vector of all
parameters for every example would not fit in memory. Formulas without a source are derived here.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synaug.classifiers.gradients import mean_gradient, per_example_gradients
from synaug.classifiers.predictions import check_images, evaluating
from synaug.theory.two_layer_cnn.theory import augmented_size

#: Members whose gradients are held at once, more where one source has more: 40 MB for 78,000 parameters.
CHUNK = 128


@dataclass(frozen=True, eq=False)
class GradientProducts:
    """Inner products of the gradients of T members of N sources in G groups.

    source, group: int64 ``[T]``. slot: int64 ``[T]``, a member's number within its source.
    own: float64 ``[N, M, M]``, of the residuals of a source's members, by slot; 0 where it has fewer.
    onto: float64 ``[T, G]``, of a member's residual and the groups' mean gradients. means: ``[G, G]``, of the means.
    The methods take weights, float ``[T]``: not negative, summing to 1, the same within a group; ValueError otherwise.
    """

    source: Tensor
    group: Tensor
    slot: Tensor
    own: Tensor
    onto: Tensor
    means: Tensor

    def batch_variance(self, weights: Tensor, batch_size: int, set_size: int) -> float:
        """Variance (trace of the covariance) of a mini-batch's gradient, given the training set.

        For batches of shuffled passes over ``set_size`` examples, copies counted each: that of as many examples drawn
        with replacement, times (set_size - batch_size) / (set_size - 1).
        """
        weights, share = self._checked(weights)
        if not 1 <= batch_size <= set_size:
            raise ValueError(f"batch_size must be at least 1 and at most set_size = {set_size}, got {batch_size}")
        # |g - full|^2 from |residual|^2, <residual, own mean - full> and |own mean - full|^2.
        away = torch.eye(len(share), dtype=torch.float64) - share
        across = self.onto.gather(1, self.group[:, None])[:, 0] - self.onto @ share
        between = (away @ self.means * away).sum(1)[self.group]
        variance = (weights * (self.squares() + 2 * across + between)).sum().item() / batch_size
        return variance * (set_size - batch_size) / max(set_size - 1, 1)

    def set_variance(self, weights: Tensor) -> float:
        """Variance of the whole set's gradient over training sets, estimated from this one.

        Sources are independent draws, members of one source are not: N / (N - 1) times the sum over sources of
        |sum of w (g - full)|^2 over their members, the linearised (cluster-robust) variance of a weighted mean. The
        network, and a generator that has made members, are taken as given. ValueError for fewer than two sources.
        """
        weights, share = self._checked(weights)
        n = len(self.own)
        if n < 2:
            raise ValueError("a variance over training sets needs at least two sources")
        padded = self._by_slot(weights)
        residual = (padded[:, None] @ self.own @ padded[:, :, None])[:, 0, 0]
        away = (torch.eye(len(share), dtype=torch.float64) - share)[self.group]  # own mean - full, as parts of means
        shift = torch.zeros(n, len(share), dtype=torch.float64).index_add_(0, self.source, weights[:, None] * away)
        onto = torch.zeros_like(shift).index_add_(0, self.source, weights[:, None] * self.onto)
        total = residual.sum() + 2 * (onto * shift).sum() + (shift @ self.means * shift).sum()
        return total.item() * n / (n - 1)

    def alignment(self, weights: Tensor) -> Tensor:
        """<full gradient, residual> of each member, float64 ``[T]``: the counterpart of <gradient, noise patch>."""
        return self.onto @ self._checked(weights)[1]

    def own_alignment(self, weights: Tensor) -> Tensor:
        """The part of `alignment` that the residuals of the member's own source have put there, float64 ``[T]``.

        It is all of it where different sources have orthogonal residuals, as in the theory of targeted augmentation.
        """
        padded = self._by_slot(self._checked(weights)[0])
        return (self.own @ padded[:, :, None])[self.source, self.slot, 0]

    def speed(self, weights: Tensor) -> Tensor:
        """<full gradient, g> of each member, float64 ``[T]``: how fast gradient flow on the set lowers its loss."""
        share = self._checked(weights)[1]
        return self.onto @ share + (self.means @ share)[self.group]

    def squares(self) -> Tensor:
        """|residual|^2 of each member, float64 ``[T]``."""
        return self.own[self.source, self.slot, self.slot]

    def same_source_correlation(self, first: Tensor, second: Tensor) -> float:
        """Correlation of the residuals of two members of a source: sum <r, r'> / sqrt(sum |r|^2 sum |r'|^2).

        first, second: int64 ``[n]``, members, pair by pair of one source; 1 for copies, 0 for independent examples.
        """
        squares = self.squares()
        return (self._paired(first, second).sum() / (squares[first].sum() * squares[second].sum()).sqrt()).item()

    def mean_ratio(self, first: Tensor, second: Tensor) -> float:
        """How much of one group's mean gradient another's supplies: <mean', mean> / |mean|^2, over several groups.

        first, second: as in `same_source_correlation`, whole groups. Products of a source with itself are left out, so
        that noise in the means does not count: sum over groups of n <mean', mean> - sum <r', r> / (n - 1), over the
        same with r for r'. 1 where the expected gradients are equal; of no meaning where the first ones are about 0.
        Groups of one member are left out; NaN where there are no others.
        """

        def between_sources(members):
            groups = torch.stack([self.group[first], self.group[members]])
            pairs, place, n = groups.unique(dim=1, return_inverse=True, return_counts=True)
            whole = torch.bincount(self.group)
            if not (torch.equal(whole[pairs[0]], n) and torch.equal(whole[pairs[1]], n)):
                raise ValueError("means are compared of whole groups")
            same = torch.bincount(place, self._paired(first, members))
            return (n * self.means[pairs[0], pairs[1]] - same / (n - 1))[n > 1].sum()

        return (between_sources(second) / between_sources(first)).item()

    def _paired(self, first, second):
        if not torch.equal(self.source[first], self.source[second]):
            raise ValueError("pairs of members must be of one source each")
        return self.own[self.source[first], self.slot[first], self.slot[second]]

    def _by_slot(self, weights):
        padded = torch.zeros(self.own.shape[:2], dtype=torch.float64)
        padded[self.source, self.slot] = weights
        return padded

    def _checked(self, weights):
        """Weights and what each group has of them, both float64: the full gradient in parts of the group means."""
        weights = weights.double()
        if weights.shape != self.source.shape:
            raise ValueError(f"weights must be [{len(self.source)}], one per member, got {list(weights.shape)}")
        if not bool((weights >= 0).all()) or abs(weights.sum().item() - 1) > 1e-6:
            raise ValueError(f"weights must not be negative and sum to 1, got {weights.min():.3g} and a sum of {weights.sum():.6g}")
        share = torch.bincount(self.group, weights)
        if not torch.allclose(weights, (share / torch.bincount(self.group))[self.group], rtol=1e-6):
            raise ValueError("members of one group must have one weight")
        return weights, share


def gradient_products(model: nn.Module, images: Tensor, labels: Tensor, source: Tensor, group: Tensor) -> GradientProducts:
    """`GradientProducts` of a training set's members, with the model in evaluation mode (afterwards each of its
    modules is in the mode that it was in, also after an error).

    images, labels: as in `mean_gradient`, of T members. source: int64 ``[T]`` in 0..N-1, group: int64 ``[T]`` in
    0..G-1, none of them empty.
    """
    check_images(images, labels)
    for name, values in (("source", source), ("group", group)):
        if values.dtype != torch.int64 or values.shape != labels.shape:
            raise ValueError(f"{name} must be int64 [{len(labels)}], one per member, got {values.dtype} {list(values.shape)}")
        if not torch.equal(values.unique(), torch.arange(int(values.max()) + 1)):
            raise ValueError(f"{name} must be numbered 0, 1, ... without gaps")
    with evaluating(model):
        means = torch.stack([_mean_in_pieces(model, images[group == g], labels[group == g]) for g in range(int(group.max()) + 1)])
        order = source.argsort(stable=True)
        counts = torch.bincount(source)
        slot = torch.empty_like(source)
        slot[order] = torch.arange(len(source)) - (counts.cumsum(0) - counts)[source[order]]
        own = torch.zeros(len(counts), int(counts.max()), int(counts.max()), dtype=torch.float64)
        onto = torch.empty(len(source), len(means), dtype=torch.float64)
        for rows in _whole_sources(order, counts):
            residuals = per_example_gradients(model, images[rows], labels[rows]) - means[group[rows]]
            onto[rows] = (residuals @ means.T).double()
            sources, place = source[rows].unique(return_inverse=True)
            most = int(slot[rows].max()) + 1
            padded = residuals.new_zeros(len(sources), most, residuals.shape[1])
            padded[place, slot[rows]] = residuals
            own[sources, :most, :most] = (padded @ padded.mT).double()
    return GradientProducts(source, group, slot, own, onto, (means @ means.T).double())


def relative_set_variance(k: float, alpha: float, correlation: float) -> float:
    """`set_variance` over that of the original set, for examples of equal variance and equal means.

    The slow examples, 1 - alpha of all, have k members each whose residuals have this correlation: (alpha +
    k (1 - alpha)(1 + (k - 1) correlation)) / (alpha + k (1 - alpha))^2. Upsampling is correlation 1, new examples 0.
    """
    return (alpha + k * (1 - alpha) * (1 + (k - 1) * correlation)) / augmented_size(1, alpha, k) ** 2


def _mean_in_pieces(model, images, labels) -> Tensor:
    pieces = zip(images.split(CHUNK), labels.split(CHUNK))
    return sum((mean_gradient(model, *piece) * len(piece[1]) for piece in pieces), torch.zeros(())) / len(labels)


def _whole_sources(order: Tensor, counts: Tensor) -> Iterator[Tensor]:
    """Pieces of ``order``, members sorted by source, of at most ``CHUNK`` members (or one source)."""
    start = end = 0
    for count in counts.tolist():
        if end > start and end + count - start > CHUNK:
            yield order[start:end]
            start = end
        end += count
    yield order[start:end]
