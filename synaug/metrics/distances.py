"""Squared distances between large sets, block by block: screened in float32, decided in float64.

A block of distances comes from one float32 matrix product, |x|^2 + |y|^2 - 2 x.y on centred
features. Its rounding error is bounded, and whatever the bound leaves undecided (a handful of pairs
per point) is computed again from the differences in float64. The answers are those of float64
arithmetic at the speed and memory of float32.
"""

import torch

BLOCK = 1024  # rows and columns of one block: a 4 MB product stays in cache
PAIRS = 64  # pairs whose difference is held at once
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

    def rows(self, block: slice, out: torch.Tensor) -> torch.Tensor:
        """Centred rows ``[B, D]`` in the screening precision, written into ``out``."""
        rows = self.features[block].to(torch.promote_types(self.features.dtype, self.dtype))
        return torch.sub(rows, self.centre.to(rows.dtype), out=out[: len(rows)])

    def rounding(self, radii_squared: torch.Tensor) -> torch.Tensor:
        """``[N]``: how far a screened squared distance within a point's radius can be off.

        A dot product of length D has relative error of about sqrt(D) unit roundoffs (Higham & Mary
        2019), taken four times; a point y within radius r of x has |y| <= |x| + r.
        """
        unit = 4 * torch.finfo(self.dtype).eps / 2 * (self.features.shape[1] ** 0.5 + 4)
        norms = self.norms.double()
        return unit * (norms + (norms.sqrt() + radii_squared.sqrt()).square())


class Workspace:
    """Buffers used again for every block: allocating them anew would fragment the heap."""

    def __init__(self, points: Points):
        like = dict(dtype=points.dtype, device=points.features.device)
        self.rows = torch.empty(BLOCK, points.features.shape[1], **like)
        self.block = torch.empty(BLOCK * BLOCK, **like)
        self.turned = torch.empty(BLOCK * BLOCK, **like)


def prepare(real: torch.Tensor, fake: torch.Tensor) -> tuple[Points, Points]:
    """Both sets about their joint mean (small norms, so little cancellation), screened in float32.

    Screening is in float64 where squares would leave the range of float32, or where someone has
    allowed matrix products of reduced precision (TF32, bfloat16): the bound would not hold.
    """
    sums = [block.sum(0).double() for features in (real, fake) for block in features.split(BLOCK)]
    centre = (sum(sums) / (len(real) + len(fake))).float()  # the same value in either precision
    x, y = Points(real, centre, torch.float32), Points(fake, centre, torch.float32)
    largest = max(x.norms.max(), y.norms.max())
    if 1e-30 < largest < 1e30 and torch.get_float32_matmul_precision() == "highest":
        return x, y
    return Points(real, centre, torch.float64), Points(fake, centre, torch.float64)


def screened(x: Points, rows: torch.Tensor, a: slice, y: Points, b: slice, space: Workspace) -> torch.Tensor:
    """Squared distances ``[A, B]`` in screening precision, in ``space``; ``rows`` are those of x in ``a``."""
    columns = y.rows(b, space.rows)
    block = space.block[: len(rows) * len(columns)].view(len(rows), len(columns))
    torch.addmm(y.norms[b], rows, columns.T, alpha=-2, out=block)
    return block.add_(x.norms[a, None])


def exact(x: Points, i: torch.Tensor, y: Points, j: torch.Tensor) -> torch.Tensor:
    """Squared distances ``[P]`` of the pairs ``(i, j)`` from their differences, in float64."""
    out = torch.empty(len(i), dtype=torch.float64, device=x.features.device)
    for s in range(0, len(i), PAIRS):
        difference = x.features[i[s : s + PAIRS]].double() - y.features[j[s : s + PAIRS]].double()
        out[s : s + PAIRS] = difference.square_().sum(1)
    return out


def neighbour_radii(points: Points, k: int, progress) -> torch.Tensor:
    """Squared distance of every point to its k-th nearest other point, float64 ``[N]``.

    Each pair of blocks is multiplied once and searched in both directions.
    """
    n, device = len(points), points.features.device
    kept = min(k + SPARE, n - 1)
    values = torch.full((n, kept), torch.inf, dtype=points.dtype, device=device)
    index = torch.zeros((n, kept), dtype=torch.int64, device=device)

    def merge(rows: slice, block: torch.Tensor, first: int) -> None:
        new_values, new_index = block.topk(min(kept, block.shape[1]), largest=False)
        both = torch.cat([values[rows], new_values], dim=1)
        values[rows], order = both.topk(kept, largest=False, sorted=True)
        index[rows] = torch.cat([index[rows], new_index + first], dim=1).gather(1, order)

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
                merge(b, turned.copy_(block.T), a.start)
            merge(a, block, b.start)

    return _decide_radii(points, values.double(), index, k)


def _decide_radii(points: Points, values: torch.Tensor, index: torch.Tensor, k: int) -> torch.Tensor:
    """Exact squared radii from the screened nearest ``values`` (ascending) and ``index``, ``[N, k + SPARE]``.

    The true k-th value lies within one rounding of the screened k-th, hence its point within two:
    only those candidates are computed again.
    """
    n, kept = values.shape
    kth = values[:, k - 1].clamp(min=0)
    margin = 2 * points.rounding(kth)[:, None]
    near = (values - kth[:, None]).abs() <= margin
    i, column = near.nonzero(as_tuple=True)
    decided = torch.full_like(values, torch.inf).masked_fill_(values < kth[:, None], -torch.inf)
    decided[i, column] = exact(points, i, points, index[i, column])
    radii = decided.sort(dim=1).values[:, k - 1].contiguous()
    if kept < n - 1:
        # The last one kept is undecided too: so may be others that were not kept.
        unsure = (near[:, -1] & (radii > 0)).nonzero().flatten()
        for some in unsure.split(128):
            radii[some] = _radii_of(points, some, k)
    return radii


def _radii_of(points: Points, some: torch.Tensor, k: int) -> torch.Tensor:
    """Squared radii of a few points from all their distances in float64: many neighbours tie there."""
    centre = points.centre.double()
    rows = points.features[some].double() - centre
    distance = torch.cat([torch.cdist(rows, points.features[b].double() - centre) for b in points.blocks()], dim=1)
    distance[torch.arange(len(some)), some] = torch.inf
    return exact(points, some, points, distance.kthvalue(k).indices)


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
