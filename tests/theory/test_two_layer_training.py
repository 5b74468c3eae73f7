import dataclasses

import pandas as pd
import pytest
import torch
from torch.nn import functional as F

from synaug.theory.two_layer_cnn import METRICS, Arm, PatchDistribution, initial_filters, train, training_sets
from synaug.theory.two_layer_cnn.distribution import NOISE
from synaug.theory.two_layer_cnn.network import logits
from synaug.theory.two_layer_cnn.training import _shuffled_passes

DIM, FILTERS, SEEDS = 10, 4, (0, 3)
ARMS = (Arm("original"), Arm("upsampled", 3), Arm("generated", 3))


def instance(n=40, arms=ARMS, seeds=SEEDS, dtype=torch.float64, **options):
    """Training sets, test examples, and filters from which margins are of order 1."""
    distribution = PatchDistribution(**({"dim": DIM, "alpha": 0.6, "beta_d": 0.4, "noise_std": 0.3} | options))
    sets = training_sets(distribution.sample(n, seeds, dtype=dtype), arms)
    test = distribution.sample(n, seeds, stream=1, dtype=dtype)
    return sets, test, initial_filters(seeds, FILTERS, DIM, std=0.3, dtype=dtype)


def autograd_training(sets, filters, s, a, steps, lr, momentum, rho):
    """An independent loop: PyTorch's own gradient and optimiser, for one seed and one arm."""
    w = filters[s].clone().requires_grad_()
    optimizer = torch.optim.SGD([w], lr, momentum)
    patches, labels, weights = sets.pool.patches[s], sets.pool.labels[s], sets.weights[s, a]

    def backward():
        optimizer.zero_grad()
        losses = F.softplus(-labels * (patches @ w.T).pow(3).sum((1, 2)))
        ((weights * losses).sum() / weights.sum()).backward()

    for _ in range(steps):
        backward()
        if rho > 0:
            shift = rho * w.grad / w.grad.norm()
            with torch.no_grad():
                w += shift
            backward()
            with torch.no_grad():
                w -= shift
        optimizer.step()
    return w.detach()


class TestSteps:
    @pytest.mark.parametrize("reading", ["A", "B"])
    @pytest.mark.parametrize("momentum", [0.0, 0.9])
    @pytest.mark.parametrize("rho", [0.0, 0.1])
    def test_equal_pytorchs(self, reading, momentum, rho):
        sets, _, filters = instance(reading=reading)
        found = train(sets, filters, steps=8, lr=0.1, momentum=momentum, rho=rho).filters
        for s in range(len(SEEDS)):
            for a in range(len(ARMS)):
                expected = autograd_training(sets, filters, s, a, 8, 0.1, momentum, rho)
                torch.testing.assert_close(found[s, a], expected, rtol=1e-9, atol=1e-11)

    def test_sam_without_gradient_stays(self):
        """Nothing to learn from: no features, no noise, hence a gradient of 0 and no direction to perturb in."""
        sets, _, filters = instance(beta_e=0.0, beta_d=0.0, noise_std=0.0, arms=ARMS[:1])
        assert torch.equal(train(sets, filters, steps=3, rho=0.1).filters[:, 0], filters)

    def test_arms_without_treatment_are_the_original(self):
        sets, _, filters = instance(arms=[Arm("original"), Arm("upsampled", 1), Arm("generated", 1)])
        assert sets.pool.patches.shape[1] == 40 and (sets.weights == 1).all()
        for batch_size in (None, 7):
            found = train(sets, filters, steps=5, rho=0.1, batch_size=batch_size).filters
            assert torch.equal(found[:, 0], found[:, 1]) and torch.equal(found[:, 0], found[:, 2])

    @pytest.mark.parametrize("batch_size", [None, 16])
    def test_arms_and_seeds_do_not_touch_each_other(self, batch_size):
        options = {"steps": 6, "momentum": 0.9, "rho": 0.1, "batch_size": batch_size}
        sets, _, filters = instance()
        together = train(sets, filters, **options).filters
        for s, seed in enumerate(SEEDS):
            for a, arm in enumerate(ARMS):
                sets, _, filters = instance(seeds=(seed,), arms=[arm])
                alone = train(sets, filters, **options).filters[0, 0]
                torch.testing.assert_close(together[s, a], alone, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("batch_size", [None, 16])
    def test_threads_share_the_seeds(self, batch_size):
        """Five seeds on one, two and more threads than seeds: the same training, and the threads given back."""
        sets, test, filters = instance(seeds=(5, 0, 3, 1, 2))
        before, found = torch.get_num_threads(), {}
        try:
            for threads in (1, 2, 8):
                torch.set_num_threads(threads)
                found[threads] = train(sets, filters, steps=6, rho=0.1, test=test, batch_size=batch_size, record_every=4)
                assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        for threads in (2, 8):
            torch.testing.assert_close(found[threads].filters, found[1].filters, rtol=1e-10, atol=1e-12)
            pd.testing.assert_frame_equal(found[threads].frame, found[1].frame, rtol=1e-10)

    def test_permutations_change_nothing(self):
        sets, _, filters = instance(arms=ARMS[:2])
        before = train(sets, filters, steps=6, rho=0.1).filters
        examples, patches = torch.randperm(40, generator=torch.Generator().manual_seed(0)), [2, 0, 1]
        pool = dataclasses.replace(
            sets.pool,
            **{name: getattr(sets.pool, name)[:, examples] for name in ("labels", "true_labels", "has_fast")},
            **{name: getattr(sets.pool, name)[:, examples][:, :, patches] for name in ("patches", "roles")},
        )
        permuted = dataclasses.replace(sets, pool=pool, source=sets.source[:, examples], weights=sets.weights[..., examples])
        order = [2, 0, 3, 1]
        found = train(permuted, filters[:, order], steps=6, rho=0.1).filters
        torch.testing.assert_close(found, before[:, :, order])

    def test_single_precision_is_close(self):
        found = []
        for dtype in (torch.float32, torch.float64):
            sets, _, filters = instance(dtype=dtype)
            found.append(train(sets, filters, steps=20, rho=0.1).filters)
        assert found[0].dtype == torch.float32
        torch.testing.assert_close(found[0].double(), found[1], rtol=1e-3, atol=1e-4)


class TestBatches:
    def test_a_batch_of_everything_is_gradient_descent(self):
        """Each arm's multiset, of a size of its own, as one batch: any order gives the weighted mean."""
        for arm in ARMS:
            sets, _, filters = instance(arms=[arm], seeds=(0,))
            size = int(sets.weights.sum())
            found = train(sets, filters, steps=4, momentum=0.5, batch_size=size).filters
            torch.testing.assert_close(found, train(sets, filters, steps=4, momentum=0.5).filters)

    def test_a_pass_has_every_example_as_often_as_it_weighs(self):
        weights = torch.tensor([1.0, 0.0, 3.0, 1.0, 2.0])
        batches = _shuffled_passes(weights, 3, torch.Generator().manual_seed(0))
        drawn = torch.cat([next(batches) for _ in range(7)])
        for one_pass in drawn.split(7):
            assert torch.equal(one_pass.bincount(minlength=5), weights.long())
        assert not torch.equal(drawn[:7], drawn[7:14])

    def test_average_step_is_gradient_descents(self):
        """Over one pass at a rate too small to move, batch gradients sum to the whole gradient's."""
        sets, _, filters = instance(arms=ARMS[:1])
        lr = 1e-9
        found = (filters[:, None] - train(sets, filters, steps=8, lr=lr, batch_size=5).filters) / (8 * lr)
        expected = (filters[:, None] - train(sets, filters, steps=1, lr=lr).filters) / lr
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


class TestFrame:
    def test_form(self):
        sets, test, filters = instance()
        frame = train(sets, filters, steps=25, test=test, record_every=10).frame
        assert sorted(frame.x.unique()) == [0, 10, 20, 25]
        assert set(frame.metric) == set(METRICS)
        assert len(frame) == 4 * len(METRICS) * len(SEEDS) * len(ARMS)
        assert not frame.duplicated(["arm", "k", "seed", "x", "metric"]).any()
        assert set(frame.arm) == {"original", "upsampled", "generated"} and set(frame.swept) == {"step"}

    @pytest.mark.parametrize("reading", ["A", "B"])
    def test_values(self, reading):
        """Each metric of the last step, from its definition and the final filters."""
        sets, test, filters = instance(reading=reading, label_noise=0.1)
        result = train(sets, filters, steps=5, test=test)
        frame = result.frame[result.frame.x == 5].set_index(["arm", "seed", "metric"]).value
        pool = sets.pool
        for s, seed in enumerate(SEEDS):
            for a, arm in enumerate(ARMS):
                w = result.filters[s, a]
                expected = {"feature_fast": (w @ pool.v_e[s]).max(), "feature_slow": (w @ pool.v_d[s]).max()}
                margins = pool.labels[s] * logits(w, pool.patches[s])
                weights = sets.weights[s, a]
                objective = (weights * F.softplus(-margins)).sum() / weights.sum()
                for name, data in (("train", pool), ("test", test)):
                    patches, labels, fast = data.patches[s, :40], data.labels[s, :40], data.has_fast[s, :40]
                    margins = labels * logits(w, patches)
                    for speed, rows in (("", slice(None)), ("_fast", fast), ("_slow", ~fast)):
                        expected[f"{name}_loss{speed}"] = F.softplus(-margins[rows]).mean()
                        expected[f"{name}_error{speed}"] = (margins[rows] <= 0).double().mean()
                expected["train_loss"] = objective
                for speed, is_fast in (("fast", True), ("slow", False)):
                    means = [
                        torch.stack([(y * w @ xi).max() for xi, role in zip(x, roles) if role == NOISE]).mean()
                        for x, y, roles, fast in zip(pool.patches[s], pool.labels[s], pool.roles[s], pool.has_fast[s, :40])  # the real ones
                        if fast == is_fast
                    ]
                    expected[f"noise_{speed}"] = torch.stack(means).mean()
                assert set(expected) == set(METRICS)
                for metric, value in expected.items():
                    assert frame[arm.kind, seed, metric] == pytest.approx(value.item(), rel=1e-9, abs=1e-12), metric

    def test_without_fast_examples_their_metrics_are_left_out(self):
        sets, test, filters = instance(alpha=0.0)
        frame = train(sets, filters, steps=1, test=test).frame
        assert set(METRICS) - set(frame.metric) == {metric for metric in METRICS if metric.endswith("_fast")} - {"feature_fast"}
        assert frame.value.notna().all()


class TestRefusals:
    @pytest.mark.parametrize(
        "options, message",
        [
            ({"steps": 0}, "steps >= 1"),
            ({"record_every": 0}, "record_every >= 1"),
            ({"lr": 0.0}, "lr > 0"),
            ({"lr": float("nan")}, "lr > 0"),
            ({"momentum": 1.0}, "momentum < 1"),
            ({"rho": -0.1}, "rho >= 0"),
            ({"batch_size": 0}, "batch_size must be at least 1"),
        ],
    )
    def test_options(self, options, message):
        sets, _, filters = instance()
        with pytest.raises(ValueError, match=message):
            train(sets, filters, **({"steps": 1} | options))

    def test_filters(self):
        sets, _, filters = instance()
        for bad in (filters[0], filters[:1], filters[:, :, 1:], filters[:, :0]):
            with pytest.raises(ValueError, match=r"filters must be \[S, J, d\] with S = 2 and d = 10"):
                train(sets, bad, steps=1)
        with pytest.raises(ValueError, match="sample and start in one dtype"):
            train(sets, filters.float(), steps=1)
        with pytest.raises(ValueError, match="filters must be finite"):
            train(sets, filters * float("nan"), steps=1)

    def test_test_examples(self):
        sets, _, filters = instance()
        for bad in (instance(seeds=(0, 1))[1], instance(dtype=torch.float32)[1]):
            with pytest.raises(ValueError, match="test examples must have the training examples' seeds"):
                train(sets, filters, steps=1, test=bad)

    def test_divergence(self):
        sets, _, filters = instance()
        message = r"diverged by step 10: seed 0, Arm\(kind='original'.*lower lr=1e\+06"
        with pytest.raises(ArithmeticError, match=message):
            train(sets, 100 * filters, steps=20, lr=1e6)

    def test_divergence_of_one_thread_ends_the_others(self):
        sets, _, filters = instance()
        filters[1] *= 1e6
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            with pytest.raises(ArithmeticError, match="diverged by step 10: seed 3"):
                train(sets, filters, steps=10**9, lr=0.1)
        finally:
            torch.set_num_threads(before)
