"""The closed-form gradient, and the margins, from grouped examples.

Matrix products are for noise patches alone. Everything between them works on blocks that stay in the processor's
cache: cubes and squares of all inner products at once would cost more time than the products.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from synaug.theory.two_layer_cnn.groups import ExampleGroup

#: Inner products in a block: 512 KiB in float32. Smaller ones cost calls, much larger ones leave the cache.
BLOCK = 2**17


@dataclass(frozen=True)
class _Block:
    """A piece of a group: several seeds where all their examples fit, else some examples of one seed.

    noise: ``[s, n M, d]``. z and squares: room to work in, ``[s, A J, n M]``, and the same by arm, ``[s, A, J, n M]``.
    """

    seeds: slice
    examples: slice
    noise: torch.Tensor
    num_noise: int
    signs: torch.Tensor
    shares: torch.Tensor
    z: torch.Tensor
    squares: torch.Tensor
    z_by_arm: torch.Tensor
    squares_by_arm: torch.Tensor

    def per_example(self, values: torch.Tensor) -> torch.Tensor:
        """``[s, A, n M]`` as ``[s, A, n, M]``."""
        return values.view(*values.shape[:2], -1, self.num_noise)


class FastNetwork:
    """The network on fixed examples: ``gradient`` and ``outputs`` for any filters ``[S, A, J, d]`` of A arms.

    features: v_e and v_d, ``[S, 2, d]``. strengths: beta_e and beta_d, ``[2]``.
    """

    def __init__(self, groups: Sequence[ExampleGroup], features: torch.Tensor, strengths: torch.Tensor, num_filters: int):
        self.features, self.cubes = features[:, None], strengths**3
        room = features.new_empty(2, max(math.prod(_steps(group, num_filters)) for group in groups))
        self.groups = [(group, list(_blocks(group, num_filters, room))) for group in groups]

    def alignments(self, filters: torch.Tensor) -> torch.Tensor:
        """<w_j, v> for v_e and v_d, ``[S, A, J, 2]``."""
        return filters @ self.features.mT

    def gradient(self, filters: torch.Tensor) -> torch.Tensor:
        """Gradient of every arm's loss, ``[S, A, J, d]``: `network.gradient` to rounding."""
        alignments = self.alignments(filters)
        feature_logits = alignments.pow(3).sum(2) * self.cubes
        factors = torch.zeros_like(feature_logits)  # sum of l_i over the examples that have the feature
        result = torch.zeros_like(filters)
        for group, blocks in self.groups:
            arms = _selection(group, filters.shape[1])
            noise_gradient, factor = _noise_gradient(blocks, filters[:, arms], feature_logits[:, arms])
            result[:, arms] += noise_gradient
            factors[:, arms] += factor
        result += (factors * self.cubes)[:, :, None] * alignments.square() @ self.features
        return result.mul_(-3)

    def outputs(self, filters: torch.Tensor) -> Iterator[tuple[ExampleGroup, torch.Tensor, torch.Tensor]]:
        """Each group, the margins y f(x) and, averaged over the example's noise patches xi, max_j y <w_j, xi>.

        Both ``[S, A, n]``, A the arms that use the group; of no meaning for filling.
        """
        feature_logits = self.alignments(filters).pow(3).sum(2) * self.cubes
        for group, blocks in self.groups:
            arms = _selection(group, filters.shape[1])
            margins = feature_logits[:, arms] @ group.signs
            noise_alignment, flat = torch.zeros_like(margins), filters[:, arms].flatten(1, 2)
            for block in blocks:
                torch.bmm(flat[block.seeds], block.noise.mT, out=block.z)
                torch.pow(block.z, 3, out=block.squares)
                margins[block.seeds, :, block.examples] += block.per_example(block.squares_by_arm.sum(2)).sum(3)
                largest = block.per_example(block.z_by_arm.amax(2))
                noise_alignment[block.seeds, :, block.examples] = largest.mean(3)
            yield group, margins, noise_alignment


def _noise_gradient(blocks, filters, feature_logits):
    """Sums over a group, without the factor -3: of l z^2 x over noise, ``[S, A, J, d]``; of l, ``[S, A, 2]``."""
    shape, filters = filters.shape, filters.flatten(1, 2)
    total, factors = torch.zeros_like(filters), torch.zeros_like(feature_logits)
    for block in blocks:
        torch.bmm(filters[block.seeds], block.noise.mT, out=block.z)
        torch.mul(block.z, block.z, out=block.squares)
        block.z.mul_(block.squares)
        margins = block.z_by_arm.sum(2)
        if block.num_noise > 1:
            margins = block.per_example(margins).sum(3)
        terms = torch.baddbmm(margins, feature_logits[block.seeds], block.signs, beta=-1, alpha=-1).sigmoid_()  # l_i
        terms *= block.shares
        factors[block.seeds].baddbmm_(terms, block.signs.mT)
        if block.num_noise > 1:
            terms = terms.repeat_interleave(block.num_noise, dim=2)
        block.squares_by_arm.mul_(terms[:, :, None])
        total[block.seeds].baddbmm_(block.squares, block.noise)
    return total.view(shape), factors


def _selection(group, num_arms):
    """All arms as a slice, which copies nothing, else their numbers."""
    return slice(None) if len(group.arms) == num_arms else list(group.arms)


def _steps(group, num_filters):
    """Seeds and examples of a block, and the inner products of one example."""
    num_seeds, n, num_noise, _ = group.noise.shape
    size = len(group.arms) * num_filters * num_noise
    pieces = -(-n * size // BLOCK)
    return min(num_seeds, max(1, BLOCK // (n * size))), -(-n // pieces), size


def _blocks(group, num_filters, room):
    """The group's blocks, which share the room ``[2, inner products of the largest]``."""
    seeds_step, examples_step, _ = _steps(group, num_filters)
    num_seeds, n, num_noise, _ = group.noise.shape
    for s in range(0, num_seeds, seeds_step):
        seeds = slice(s, s + seeds_step)
        for i in range(0, n, examples_step):
            examples = slice(i, i + examples_step)
            noise = group.noise[seeds, examples].flatten(1, 2)
            by_arm = (len(noise), len(group.arms), num_filters, noise.shape[1])
            z, squares = (part[: math.prod(by_arm)].view(by_arm) for part in room)
            yield _Block(
                seeds,
                examples,
                noise,
                num_noise,
                group.signs[seeds, :, examples],
                group.shares[seeds, :, examples],
                z.flatten(1, 2),
                squares.flatten(1, 2),
                z,
                squares,
            )
