"""Distances between large sets, block by block: screened by float32 products, decided in float64.

A block of squared distances comes from one float32 matrix product, |x|^2 + |y|^2 - 2 x.y on centred
features. Its rounding error is bounded, and whatever the bound leaves undecided (a handful of pairs
per point on ordinary features) is computed again from the differences in float64. So every answer is
that of float64 differences, at the speed and memory of float32 products.
"""

from collections.abc import Callable

import torch

BLOCK = 1024  # rows and columns of one block: a 4 MB product stays in cache
ELEMENTS = 2**16  # elements of the differences held at once: 0.5 MB
SPARE = 2  # nearest neighbours kept beyond k, so that float32 may reorder near ties


class Points:
    """One set of features ``[N, D]``, taken relative to ``centre [D]`` block by block in ``dtype``."""

    def __init__(self, features: torch.Tensor, centre: torch.Tensor, dtype: torch.dtype):
        self.features, self.centre, self.dtype = features, centre, dtype
        rows = Workspace(self).rows
        self.norms = torch.cat([self.rows(block, rows).square_().sum(1) for block in self.blocks()])

    def __len__(self) -> int:
        return len(self.features)

    def blocks(self) -> list[slice]:
        return [slice(i, min(i + BLOCK, len(self))) for i in range(0, len(self), BLOCK)]

    def rows(self, block: slice | torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """Centred rows ``[B, D]`` in the screening precision, written into ``out``."""
        rows = self.features[block].to(torch.promote_types(self.features.dtype, self.dtype))
        return torch.sub(rows, self.centre.to(rows.dtype), out=out[: len(rows)])

    def rounding(self, radii_squared: torch.Tensor, of: slice | torch.Tensor = slice(None)) -> torch.Tensor:
        """``[N]``: how far a screened squared distance within the radius of the points ``of`` can be off.

        A dot product of length D has relative error of about sqrt(D) unit roundoffs (Higham & Mary
        2019), taken four times; a point y within radius r of x has |y| <= |x| + r. Products below the
        smallest normal number lose all their digits.
        """
        dim, limits = self.features.shape[1], torch.finfo(self.dtype)
        unit, norms = 4 * limits.eps / 2 * (dim**0.5 + 4), self.norms[of].double()
        return unit * (norms + (norms.sqrt() + radii_squared.sqrt()).square()) + 4 * dim * limits.tiny


class Workspace:
    """Buffers used again for every block: allocating them anew would fragment the heap."""

    def __init__(self, points: Points):
        self.rows = torch.empty(BLOCK, points.features.shape[1], dtype=points.dtype, device=points.features.device)
        self.block, self.turned = (self.rows.new_empty(BLOCK * BLOCK) for _ in range(2))


def prepare(x: torch.Tensor, y: torch.Tensor) -> tuple[Points, Points]:
    """Both sets about one centre, screened in float32. ValueError where squares would leave the range of float64.

    The centre is the median of a sample, so that norms are small, with little cancellation, for all points but
    outliers. Screening is in float64 where squares would leave the range of float32, or where someone has
    allowed matrix products of reduced precision (TF32, bfloat16): the bound would not hold.
    """
    sample = torch.cat([features[:: -(-len(features) // 128)].double() for features in (x, y)])
    centre = sample.median(0).values.clamp(-1e30, 1e30).float()  # the same value in either precision
    points = Points(x, centre, torch.float32), Points(y, centre, torch.float32)
    largest = max(of.norms.max() for of in points)
    products = (torch.backends.cuda if x.is_cuda else torch.backends.mkldnn).matmul.fp32_precision
    if 1e-30 < largest < 1e30 and products in ("none", "ieee"):
        return points
    size = max(max(features.max().item(), -features.min().item()) for features in (x, y))
    if size > 0 and not 1e-140 < size < 1e140:
        raise ValueError(f"the largest feature must lie between 1e-140 and 1e140 for distances, got {size:.3g}")
    return Points(x, centre, torch.float64), Points(y, centre, torch.float64)


def screened(x: Points, rows: torch.Tensor, a: slice | torch.Tensor, y: Points, b: slice, space: Workspace) -> torch.Tensor:
    """Squared distances ``[A, B]`` in screening precision, in ``space``; ``rows`` are those of x in ``a``."""
    columns = y.rows(b, space.rows)
    block = space.block[: len(rows) * len(columns)].view(len(rows), len(columns))
    torch.addmm(y.norms[b], rows, columns.T, alpha=-2, out=block)
    return block.add_(x.norms[a, None])


def exact(x: Points, i: torch.Tensor, y: Points, j: torch.Tensor) -> torch.Tensor:
    """Squared distances ``[P]`` of the pairs ``(i, j)`` from their differences, in float64."""
    out = torch.empty(len(i), dtype=torch.float64, device=x.features.device)
    step = max(1, ELEMENTS // x.features.shape[1])
    for s in range(0, len(i), step):
        difference = x.features[i[s : s + step]].double() - y.features[j[s : s + step]].double()
        out[s : s + step] = difference.square_().sum(1)
    return out


def neighbour_radii(points: Points, k: int, progress: Callable = iter) -> torch.Tensor:
    """Squared distance of every point to its k-th nearest other point, float64 ``[N]``.

    Each pair of blocks is multiplied once and searched in both directions.
    """
    found = _Kept(points, points, k, others=True)
    blocks, space = points.blocks(), Workspace(points)
    held = torch.empty_like(space.rows)
    for at, a in enumerate(progress(blocks)):
        rows = points.rows(a, held)
        for b in blocks[at:]:
            block = screened(points, rows, a, points, b, space)
            if a == b:
                block.fill_diagonal_(torch.inf)
            else:
                turned = space.turned[: block.numel()].view(block.T.shape)
                found.merge(b, turned.copy_(block.T), a.start)
            found.merge(a, block, b.start)
    return found.decide()[0]


def nearest_of(x: Points, y: Points, progress: Callable = iter) -> tuple[torch.Tensor, torch.Tensor]:
    """Squared distance of every point of x to the nearest of y, float64 ``[N]``, and its index, int64 ``[N]``."""
    found, space = _Kept(x, y, 1), Workspace(x)
    held = torch.empty_like(space.rows)
    for a in progress(x.blocks()):
        rows = x.rows(a, held)
        for b in y.blocks():
            found.merge(a, screened(x, rows, a, y, b, space), b.start)
    return found.decide()


class _Kept:
    """The nearest points of y to every point of x, by screened values ``[N, k + SPARE]``, and who is the k-th of them.

    others: x and y are one set, and no point is its own neighbour.
    """

    def __init__(self, x: Points, y: Points, k: int, others: bool = False):
        self.x, self.y, self.k, self.others = x, y, k, others
        shape = len(x), min(k + SPARE, len(y) - others)
        self.values = torch.full(shape, torch.inf, dtype=x.dtype, device=x.features.device)
        self.index = torch.zeros(shape, dtype=torch.int64, device=x.features.device)

    def merge(self, rows: slice, block: torch.Tensor, first: int) -> None:
        """Takes in the screened distances ``block`` of some rows to the points of y from ``first`` on."""
        kept = self.values.shape[1]
        new_values, new_index = block.topk(min(kept, block.shape[1]), largest=False)
        both = torch.cat([self.values[rows], new_values], dim=1)
        self.values[rows], order = both.topk(kept, largest=False, sorted=True)
        self.index[rows] = torch.cat([self.index[rows], new_index + first], dim=1).gather(1, order)

    def decide(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Exact squared distance ``[N]`` of the k-th nearest, and its index."""
        x, y, n = self.x, self.y, len(self.x)
        squared, index, near = _kth(x, torch.arange(n, device=x.features.device), y, self.values, self.index, self.k)
        if self.values.shape[1] < len(y) - self.others:
            # Where the last one kept is undecided, so may be others that were not kept.
            unsure = (near[:, -1] & (squared > 0)).nonzero().flatten()
            if len(unsure):
                x, y = (Points(of.features, of.centre, torch.float64) for of in (x, y))
            for some in unsure.split(128):
                squared[some], index[some] = self._among_all(x, some, y)
        return squared, index

    def _among_all(self, x: Points, some: torch.Tensor, y: Points):
        """The same for a few points, from all their distances by float64 products."""
        space = Workspace(x)
        rows = x.rows(some, torch.empty_like(space.rows))
        values = torch.cat([screened(x, rows, some, y, b, space).clone() for b in y.blocks()], dim=1)
        if self.others:
            values[torch.arange(len(some)), some] = torch.inf
        return _kth(x, some, y, values, torch.arange(len(y), device=some.device).expand_as(values), self.k)[:2]


def _kth(x: Points, i: torch.Tensor, y: Points, values: torch.Tensor, index: torch.Tensor, k: int):
    """The k-th nearest by exact squared distance ``[R]`` and its index, from screened ``values [R, C]`` of rows ``i``.

    The true k-th value lies within one rounding of the screened k-th, hence its point within two: only those
    candidates, bool ``[R, C]``, the third result, are computed again.
    """
    values = values.double()
    kth = values.kthvalue(k).values.clamp_(min=0)[:, None]
    near = (values - kth).abs() <= 2 * x.rounding(kth[:, 0], i)[:, None]
    decided = torch.full_like(values, torch.inf).masked_fill_(values < kth, -torch.inf)
    row, column = near.nonzero(as_tuple=True)
    decided[row, column] = exact(x, i[row], y, index[row, column])
    squared, column = decided.kthvalue(k)
    return squared, index.gather(1, column[:, None])[:, 0], near


def pairs_within(
    block: torch.Tensor, squared_radii: torch.Tensor, rounding: torch.Tensor, x: Points, a: slice, y: Points, b: slice
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices ``(i, j)`` of the pairs of a screened block with d_ij^2 < ``squared_radii``, strictly.

    ``squared_radii`` and ``rounding`` broadcast against the block: ``[A, 1]`` for balls around x,
    ``[1, B]`` for balls around y. A ball of radius 0 has no inside.
    """
    upper = torch.where(squared_radii > 0, squared_radii + rounding, -torch.inf).to(block.dtype)
    i, j = (block <= upper).nonzero(as_tuple=True)
    lower = (squared_radii - rounding).to(block.dtype).expand_as(block)[i, j]
    undecided = (block[i, j] >= lower).nonzero().flatten()
    i, j = i + a.start, j + b.start
    if len(undecided) == 0:
        return i, j
    radii = squared_radii.expand_as(block)[i[undecided] - a.start, j[undecided] - b.start]
    keep = torch.ones_like(i, dtype=torch.bool)
    keep[undecided] = exact(x, i[undecided], y, j[undecided]) < radii
    return i[keep], j[keep]
