"""The optimal denoiser of a finite training set: what a generator is that knows its images by heart."""

import math

import torch

from synaug.diffusion.denoisers import check_input

IMAGES_AT_ONCE = 1024  # training images converted to float64 at a time, fewer of large ones
NUMBERS_AT_ONCE = 4_000_000  # of the largest array in float64, 32 MB


class EmpiricalDenoiser:
    """The posterior mean under the empirical distribution of ``images``; calling it is the denoisers' contract.

    Noised, the images are a mixture of equal Gaussians, one around each, so the estimate is the mean of the images
    under the weights softmax(-|x - image|² / (2 sigma²)) (Karras et al. 2022, appendix B.3).

    images: float ``[M, ...]``, such as ``[M, C, H, W]`` in [-1, 1]. labels: int64 ``[M]`` that hold each of 0 .. C-1,
    or None; where they are given, ``labels`` of the contract restrict the images to one class each.
    Computed in float64, for noise levels ``sigma`` (a scalar or ``[N]``) between 1e-100 and 1e100. It costs 4 M D
    operations per point of D numbers, and 100 MB of memory beside x and the result, as long as M and D are below 4 million
    and 2 million.
    Raises TypeError or ValueError for other input.
    """

    def __init__(self, images: torch.Tensor, labels: torch.Tensor | None = None):
        check_input(self, images, labels)
        if len(images) == 0 or not images.isfinite().all():
            raise ValueError(f"the training images must be finite and at least one, got {list(images.shape)}")
        images, self.image_shape, self.num_classes = images.detach(), tuple(images.shape[1:]), None
        self._classes = [slice(0, len(images))]
        if labels is not None:
            present = labels.unique()
            if not torch.equal(present, torch.arange(len(present), device=labels.device)):
                raise ValueError(f"labels must hold each of 0..C-1, got {present.tolist()}")
            self.num_classes = len(present)
            images = images[labels.argsort(stable=True)]
            ends = [0, *labels.bincount().cumsum(0).tolist()]
            self._classes = [slice(start, end) for start, end in zip(ends, ends[1:])]
        #: The images, class by class, and how many there are of each class (of all, without labels).
        self.images, self.counts = images, torch.tensor([part.stop - part.start for part in self._classes])

    def __call__(self, x: torch.Tensor, sigma: float | torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The clean estimate of x float ``[N, ...]``, dtype of x."""
        result = torch.empty_like(x)
        for rows, images, exponents, _ in self._blocks(x, sigma, labels):
            weights = exponents.exp_()
            mean = torch.zeros(len(rows), images[0].numel(), dtype=torch.float64, device=x.device)
            for at, some in _in_float64(images):
                mean.addmm_(weights[:, at : at + len(some)], some)
            result[rows] = mean.div_(weights.sum(1, keepdim=True)).view(-1, *self.image_shape).to(x.dtype)
            del exponents, weights, mean, some  # before the next block's are made
        return result

    def posterior(self, x: torch.Tensor, sigma: float | torch.Tensor, images: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The weight, float64 ``[N]``, that each x gives to the training image beside it in ``images [N, ...]``, one
        of its class where labels are given: the chance that x is its noised version (or that of its copies, each).

        ValueError where x and images differ in shape, for labels where the training images have none, and for noise
        levels that are not allowed.
        """
        if images.shape != x.shape:
            raise ValueError(f"a point needs an image of its own: got {list(x.shape)} and {list(images.shape)}")
        total = self._log_likelihood(x, sigma, labels)
        squared, levels = torch.empty_like(total), self._levels(x, sigma)
        for part in torch.arange(len(x), device=x.device).split(_at_once(self.images)):
            squared[part] = ((x[part].double() - images[part]).flatten(1) / levels[part, None]).square().sum(1)
        counts = self.counts.sum() if labels is None else self.counts[labels.cpu()].to(x.device)
        return (-squared / 2 - counts.double().log() - total).exp()

    def _log_likelihood(self, x, sigma, labels):
        """ln of the mean over images of exp(-|x - image|² / (2 sigma²)), ``[N]``."""
        result = torch.empty(len(x), dtype=torch.float64, device=x.device)
        for rows, images, exponents, squared in self._blocks(x, sigma, labels):
            result[rows] = exponents.logsumexp(1) - math.log(len(images)) - squared / 2
            del exponents  # before the next block's are made
        return result

    def _levels(self, x, sigma):
        """sigma as float64 ``[N]``."""
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
        if sigma.ndim and sigma.shape != (len(x),) or not ((sigma >= 1e-100) & (sigma <= 1e100)).all():
            raise ValueError(f"sigma must be a scalar or [N] with N = {len(x)}, and between 1e-100 and 1e100")
        return sigma.expand(len(x))

    def _blocks(self, x, sigma, labels):
        """The work, in blocks of points of one class: their rows ``[B]``, the images ``[M, ...]`` that count,
        -(|x - image|² - |x - nearest image|²) / (2 sigma²) ``[B, M]``, and |x - nearest image|² / sigma² ``[B]``."""
        levels = self._levels(x, sigma)
        check_input(self, x, labels)
        if labels is not None and self.num_classes is None:
            raise ValueError("labels were given, but the training images have none")
        wanted = [(slice(None), slice(None))] if labels is None else [(labels == c, self._classes[c]) for c in labels.unique().tolist()]
        for chosen, part in wanted:
            images = self.images[part]
            rows = torch.arange(len(x), device=x.device)[chosen]
            for block in rows.split(max(1, NUMBERS_AT_ONCE // max(images.shape[0], images[0].numel()))):
                yield block, images, *_exponents(x[block].flatten(1).double(), images, levels[block, None])


def _exponents(points, images, levels):
    """The last two of `EmpiricalDenoiser._blocks` for points ``[B, D]``, which are overwritten, and levels ``[B, 1]``.

    |x|² cancels in the softmax: x·image - |image|² / 2 orders the images by distance. The largest is subtracted
    before the division by sigma², so that nothing overflows into NaN.
    """
    exponents = torch.empty(len(points), len(images), dtype=torch.float64, device=points.device)
    for at, some in _in_float64(images):
        exponents[:, at : at + len(some)] = torch.addmm(some.square().sum(1) / -2, points, some.T)
    largest, nearest = exponents.max(1, keepdim=True)
    exponents.sub_(largest).div_(levels.square())
    squared = points.sub_(images[nearest[:, 0]].flatten(1)).div_(levels).square_().sum(1)
    return exponents, squared


def _in_float64(images):
    """(first row, float64 ``[m, D]``) of consecutive parts of the images."""
    step = _at_once(images)
    for at in range(0, len(images), step):
        yield at, images[at : at + step].flatten(1).double()


def _at_once(images):
    """How many images are converted to float64 at a time: these and their squares take half the largest array each."""
    return max(1, min(IMAGES_AT_ONCE, NUMBERS_AT_ONCE // 2 // images[:1].flatten(1).shape[1]))
