"""The closed-form gradient, and the margins, from grouped examples.

Matrix products are for noise patches alone. Everything between them works on blocks that stay in the processor's
cache: cubes and squares of all inner products at once would cost more time than the products.
"""

from collections.abc import Iterator, Sequence

import torch

from synaug.two_layer_cnn.groups import ExampleGroup

#: Inner products in a block: 512 KiB in float32. Smaller ones cost calls, much larger ones leave the cache.
BLOCK = 2**17


class FastNetwork:
    """The network on fixed examples: ``gradient`` and ``outputs`` for any filters ``[S, A, J, d]`` of A arms.

    features: v_e and v_d, ``[S, 2, d]``. strengths: beta_e and beta_d, ``[2]``.
    """

    def __init__(
        self, groups: Sequence[ExampleGroup], features: torch.Tensor, strengths: torch.Tensor, num_filters: int
    ):
        self.features, self.cubes, self.num_filters = features[:, None], strengths**3, num_filters
        self.groups = [(group, list(_blocks(group, num_filters))) for group in groups]
        most = max(block[1].shape[:2].numel() * len(group.arms) for group, blocks in self.groups for block in blocks)
        self._room = features.new_empty(2, num_filters * most)  # to work in: no memory is asked for at every step

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
            noise_gradient, factor = self._group_gradient(blocks, filters[:, arms], feature_logits[:, arms])
            result[:, arms] += noise_gradient
            factors[:, arms] += factor
        result += (factors * self.cubes)[:, :, None] * alignments.square() @ self.features
        return result.mul_(-3)

    def outputs(self, filters: torch.Tensor) -> Iterator[tuple[ExampleGroup, torch.Tensor, torch.Tensor]]:
        """Each group, the margins y f(x) and, averaged over the example's noise patches xi, max_j y <w_j, xi>.

        Both ``[S, A, n]``, A the arms that use the group; 0 for filling.
        """
        feature_logits = self.alignments(filters).pow(3).sum(2) * self.cubes
        for group, blocks in self.groups:
            arms = _selection(group, filters.shape[1])
            margins = feature_logits[:, arms] @ group.signs
            noise_alignment, flat = torch.zeros_like(margins), filters[:, arms].flatten(1, 2)
            shape = (len(group.arms), self.num_filters)
            for seeds, noise, _, _, examples, num_noise in blocks:
                z, cubes = self._arrays(len(noise), flat.shape[1], noise.shape[1])
                torch.bmm(flat[seeds], noise.mT, out=z)
                torch.pow(z, 3, out=cubes)
                margins[seeds, :, examples] += cubes.unflatten(1, shape).sum(2).unflatten(2, (-1, num_noise)).sum(3)
                largest = z.unflatten(1, shape).amax(2)
                noise_alignment[seeds, :, examples] = largest.unflatten(2, (-1, num_noise)).mean(3)
            yield group, margins, noise_alignment

    def _group_gradient(self, blocks, filters, feature_logits):
        """Sums over the group, without the factor -3: of l z^2 x over noise, ``[S, A, J, d]``; of l, ``[S, A, 2]``."""
        shape, filters = filters.shape[1:3], filters.flatten(1, 2)
        total, factors = torch.zeros_like(filters), torch.zeros_like(feature_logits)
        for seeds, noise, signs, shares, _, num_noise in blocks:
            z, squares = self._arrays(len(noise), filters.shape[1], noise.shape[1])
            torch.bmm(filters[seeds], noise.mT, out=z)
            torch.mul(z, z, out=squares)
            margins = z.mul_(squares).unflatten(1, shape).sum(2)
            if num_noise > 1:
                margins = margins.unflatten(2, (-1, num_noise)).sum(3)
            terms = torch.baddbmm(margins, feature_logits[seeds], signs, beta=-1, alpha=-1).sigmoid_()  # l_i
            terms *= shares
            factors[seeds].baddbmm_(terms, signs.mT)
            if num_noise > 1:
                terms = terms.repeat_interleave(num_noise, dim=2)
            squares.unflatten(1, shape).mul_(terms[:, :, None])
            total[seeds].baddbmm_(squares, noise)
        return total.unflatten(1, shape), factors

    def _arrays(self, *shape):
        """Two arrays of this shape in the room."""
        size = shape[0] * shape[1] * shape[2]
        return [part[:size].view(shape) for part in self._room]


def _selection(group, num_arms):
    """All arms as a slice, which copies nothing, else their numbers."""
    return slice(None) if len(group.arms) == num_arms else list(group.arms)


def _blocks(group: ExampleGroup, num_filters: int) -> Iterator[tuple]:
    """Seeds, noise ``[s, n M, d]``, signs, shares, examples (slices of the group) and M of each block.

    A block has several seeds where all their examples fit it, else a piece of one seed's.
    """
    num_seeds, n, num_noise, _ = group.noise.shape
    size = len(group.arms) * num_filters * num_noise  # of one example
    step, seeds_step = -(-n // -(-n * size // BLOCK)), max(1, BLOCK // (n * size))
    for s in range(0, num_seeds, seeds_step):
        seeds = slice(s, s + seeds_step)
        for i in range(0, n, step):
            examples = slice(i, i + step)
            noise = group.noise[seeds, examples].flatten(1, 2)
            yield seeds, noise, group.signs[seeds, :, examples], group.shares[seeds, :, examples], examples, num_noise
