"""Training the two-layer CNN: gradient descent, SAM and mini-batch SGD, for all seeds and arms at once."""

import dataclasses
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pandas as pd
import torch

from synaug.theory.two_layer_cnn.arms import Arm, TrainingSets, training_sets
from synaug.theory.two_layer_cnn.distribution import PatchData, seeded_generator
from synaug.theory.two_layer_cnn.fast_gradient import FastNetwork
from synaug.theory.two_layer_cnn.groups import ExampleGroup, example_group, grouped
from synaug.theory.two_layer_cnn.trajectories import measure, tidy_frame

_BATCH_ORDER = 3_000  # a stream of its own, far from those of samples


@dataclass(frozen=True)
class Training:
    """filters: W after the last step, ``[S, A, J, d]``. frame: the trajectories, see `trajectories.tidy_frame`."""

    filters: torch.Tensor
    frame: pd.DataFrame


def train(
    sets: TrainingSets,
    filters: torch.Tensor,
    *,
    steps: int,
    lr: float = 0.1,
    momentum: float = 0.0,
    rho: float = 0.0,
    batch_size: int | None = None,
    test: PatchData | None = None,
    record_every: int = 10,
) -> Training:
    """Train every arm and seed from the same filters, for the same number of steps, on the CPU.

    Seeds are shared out among as many threads as torch may use: blocks that fit a core's cache are too small for
    several cores to share each operation on them.

    Parameters
    ----------
    sets : from `training_sets`; S seeds, A arms. Everything is computed in the dtype of its patches.
    filters : W to start from, ``[S, J, d]``, see `network.initial_filters`.
    lr, momentum : W <- W - lr m, m <- momentum m + gradient, as in ``torch.optim.SGD``. 0.1 as in the public toys.
    rho : SAM's radius: the gradient is taken at W + rho g / ||g||_F, g the gradient at W; 0 is no SAM.
    batch_size : examples of a mini-batch, in shuffled passes over the training set, where an upsampled example occurs
        k times; SAM takes both gradients on the same batch. None is the whole set.
    test : examples with the same features, for the test metrics; say ``sample(n, seeds, stream=1)``.
    record_every : steps between rows of the frame; the start and the last step are always there.

    Raises
    ------
    ValueError : options or shapes that do not fit, before the first step.
    ArithmeticError : filters are no longer finite at a recorded step.
    """
    _check(sets, filters, steps, lr, momentum, rho, batch_size, test, record_every)
    options = {"steps": steps, "lr": lr, "momentum": momentum, "rho": rho, "batch_size": batch_size, "record_every": record_every}
    threads, end = torch.get_num_threads(), _End(steps)
    size = -(-len(filters) // threads)
    parts = [slice(start, start + size) for start in range(0, len(filters), size)]

    def train_part(part):
        try:
            return _train(_of_seeds(sets, part), filters[part], None if test is None else _examples_of(test, part), end, **options)
        except _Diverged as error:
            end.lower(error.step)
            return error
        except BaseException:
            end.lower(0)
            raise

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(len(parts)) as executor:
            try:
                trained = list(executor.map(train_part, parts))
            except BaseException:  # an interruption, too, ends all threads
                end.lower(0)
                raise
    finally:
        torch.set_num_threads(threads)
    # Threads do not run in step: of several that diverge, the earliest step and the first seed are told.
    if errors := [error for error in trained if isinstance(error, _Diverged)]:
        raise min(errors, key=lambda error: error.step)
    recorded = trained[0][1]
    records = [{metric: torch.cat([part[metric] for part in at_step]) for metric in at_step[0]} for at_step in zip(*(records for _, _, records in trained))]
    return Training(torch.cat([part[0] for part in trained]), tidy_frame(recorded, records, sets.arms, sets.pool.seeds))


class _Diverged(ArithmeticError):
    """At which step the filters were no longer finite."""

    def __init__(self, message, step):
        super().__init__(message)
        self.step = step


class _End:
    """The step after which no thread goes on: the last, or the first at which one has diverged."""

    def __init__(self, step):
        self.step, self.lock = step, threading.Lock()

    def lower(self, step):
        with self.lock:
            self.step = min(self.step, step)


@torch.no_grad()
def _train(sets, filters, test, end, *, steps, lr, momentum, rho, batch_size, record_every):
    """Filters after the last step, the steps that were recorded, and the records; cut short after ``end.step``."""
    features = torch.stack([sets.pool.v_e, sets.pool.v_d], dim=1)
    strengths = features.new_tensor([sets.pool.distribution.beta_e, sets.pool.distribution.beta_d])
    num_arms, num_filters = len(sets.arms), filters.shape[1]
    whole = FastNetwork(grouped(sets), features, strengths, num_filters)
    tested = None
    if test is not None:
        tested = FastNetwork(_test_groups(test, num_arms), features, strengths, num_filters)
    if batch_size is not None:
        batches = _batches(sets, batch_size)
        features = features.repeat_interleave(num_arms, dim=0)

    filters = filters[:, None].repeat(1, num_arms, 1, 1)
    velocity, recorded, records = torch.zeros_like(filters), [0], [measure(filters, whole, tested)]
    for step in range(1, steps + 1):
        if step > end.step:
            break
        network = whole if batch_size is None else FastNetwork([next(batches)], features, strengths, num_filters)
        gradient = _gradient(network, filters)
        if rho > 0:
            norm = gradient.flatten(2).norm(dim=2).clamp_min(torch.finfo(filters.dtype).tiny)
            gradient = _gradient(network, filters + gradient * (rho / norm)[:, :, None, None])
        velocity.mul_(momentum).add_(gradient)
        filters.sub_(velocity, alpha=lr)
        if step % record_every == 0 or step == steps:
            _check_finite(filters, sets, step, lr)
            recorded.append(step)
            records.append(measure(filters, whole, tested))
    return filters, recorded, records


def _of_seeds(sets, seeds):
    """The training sets of some of the seeds, a slice."""
    return dataclasses.replace(sets, pool=_examples_of(sets.pool, seeds), source=sets.source[seeds], weights=sets.weights[seeds])


def _examples_of(data, seeds):
    fields = (field.name for field in dataclasses.fields(data) if field.name != "distribution")
    return dataclasses.replace(data, **{name: getattr(data, name)[seeds] for name in fields})


def _gradient(network, filters):
    """Where each arm has a batch of its own, seeds and arms are one to the network."""
    if len(network.features) == len(filters):
        return network.gradient(filters)
    return network.gradient(filters.flatten(0, 1)[:, None]).view_as(filters)


def _test_groups(test, num_arms):
    """The test examples, for every arm."""
    return [
        dataclasses.replace(group, arms=tuple(range(num_arms)), shares=group.shares.expand(-1, num_arms, -1))
        for group in grouped(training_sets(test, [Arm("original")]))
    ]


def _batches(sets: TrainingSets, batch_size: int) -> Iterator[ExampleGroup]:
    """Endless mini-batches, those of seeds and arms side by side as ``S A`` seeds of one arm.

    Arms of the same seed shuffle with the same random numbers.
    """
    num_seeds, num_arms, n = sets.weights.shape
    num_noise = sets.pool.distribution.num_patches - 1
    everything = example_group(sets.pool, torch.arange(n).expand(num_seeds, n), num_noise, sets.weights)
    passes = [
        _shuffled_passes(weights, batch_size, seeded_generator(seed, _BATCH_ORDER))
        for seed, of_seed in zip(sets.pool.seeds, sets.weights)
        for weights in of_seed
    ]
    seeds = torch.arange(num_seeds).repeat_interleave(num_arms)[:, None]
    shares = sets.weights.new_full((len(passes), 1, batch_size), 1 / batch_size)
    while True:
        index = torch.stack([next(order) for order in passes])
        signs = everything.signs[seeds, :, index].mT.contiguous()
        yield ExampleGroup(everything.noise[seeds, index], signs, shares, everything.present[seeds, index])


def _shuffled_passes(weights, batch_size, generator):
    """Batches of indices from endless shuffled passes, in which each index occurs as often as its weight says."""
    indices = torch.arange(len(weights)).repeat_interleave(weights.long())
    rest = indices[:0]
    while True:
        while len(rest) < batch_size:
            rest = torch.cat([rest, indices[torch.randperm(len(indices), generator=generator)]])
        yield rest[:batch_size]
        rest = rest[batch_size:]


def _check(sets, filters, steps, lr, momentum, rho, batch_size, test, record_every):
    pool = sets.pool
    if filters.ndim != 3 or (filters.shape[0], filters.shape[2]) != pool.v_e.shape or filters.shape[1] < 1:
        raise ValueError(f"filters must be [S, J, d] with S = {len(pool.seeds)} and d = {pool.v_e.shape[1]}, got {list(filters.shape)}")
    if filters.dtype != pool.patches.dtype:
        raise ValueError(f"filters are {filters.dtype} but patches {pool.patches.dtype}: sample and start in one dtype")
    if not filters.isfinite().all():
        raise ValueError("filters must be finite")
    if steps < 1 or record_every < 1:
        raise ValueError(f"need steps >= 1 and record_every >= 1, got {steps} and {record_every}")
    if not 0 < lr < math.inf or not 0 <= momentum < 1 or not 0 <= rho < math.inf:
        raise ValueError(f"need lr > 0, 0 <= momentum < 1, rho >= 0, all finite; got {lr}, {momentum}, {rho}")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if test is not None:
        same = test.patches.dtype == pool.patches.dtype and test.seeds == pool.seeds
        if not same or not torch.equal(test.v_e, pool.v_e) or not torch.equal(test.v_d, pool.v_d):
            raise ValueError("test examples must have the training examples' seeds, features and dtype")


def _check_finite(filters, sets, step, lr):
    finite = filters.flatten(2).isfinite().all(2)
    if not finite.all():
        s, a = (~finite).nonzero()[0].tolist()
        raise _Diverged(f"training diverged by step {step}: seed {sets.pool.seeds[s]}, {sets.arms[a]}; lower lr={lr:g}", step)
