import warnings

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from small import digits, resnet
from torch.nn import functional as F

from synaug.augmentation.selection import SELECTIONS, select, slow_clusters
from synaug.classifiers import predict, train_classifier
from synaug.classifiers.training import batch_order
from synaug.classifiers.warm_up import WarmUp, is_flat, warm_up


def outputs(n=60, classes=3, seed=0, passes=4):
    """A warm-up of random outputs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % classes
    logits = torch.randn(n, classes, generator=generator) + 1.5 * F.one_hot(labels, classes)
    return WarmUp(logits, labels, torch.rand(passes, n, generator=generator) < 0.6)


class TestEvidence:
    def test_loss_margin_and_errors(self):
        logits = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])
        evidence = WarmUp(logits, torch.tensor([0, 1])).evidence()
        expected = [np.log(np.exp([2, 0, -1]).sum()) - 2, np.log(np.exp([0, 1, 3]).sum()) - 1]
        assert evidence["loss"].to_numpy() == pytest.approx(expected)
        assert evidence["margin"].tolist() == [2, -2]
        assert evidence["misclassified"].tolist() == [False, True]
        assert "forgetting_events" not in evidence

    def test_forgetting_events_by_hand(self):
        seen = ["1111", "0000", "0101", "1010", "0111", "1001"]
        correct = torch.tensor([[c == "1" for c in row] for row in seen]).T
        early = WarmUp(torch.zeros(6, 2), torch.zeros(6, dtype=torch.int64), correct)
        evidence = early.evidence()
        assert evidence["forgetting_events"].tolist() == [0, 0, 1, 2, 0, 1]
        assert evidence["learned"].tolist() == [True, False, True, True, True, True]
        assert early.errors == pytest.approx([3 / 6, 3 / 6, 3 / 6, 2 / 6])

    def test_takes_what_a_training_loop_has(self):
        logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).bfloat16().requires_grad_()
        early = WarmUp(logits, torch.tensor([0, 0, 1, 1, 2, 2]))
        assert early.logits.dtype == torch.float32 and early.errors == []
        assert len(select("slow_learnable", early)) == 3

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"logits": torch.zeros(3, 1)}, "K >= 2"),
            ({"logits": torch.full((3, 2), torch.nan)}, "NaN"),
            ({"labels": torch.zeros(2, dtype=torch.int64)}, r"int64 \[3\]"),
            ({"labels": torch.tensor([0, 1, 2])}, r"0\.\.1, got 0\.\.2"),
            ({"correct": torch.zeros(4, 2, dtype=torch.bool)}, r"\[passes, 3\]"),
            ({"logits": np.zeros((3, 2), np.float32)}, "logits must be a tensor, got ndarray; torch.as_tensor"),
            ({"labels": [0, 1, 1]}, "labels must be a tensor, got list"),
        ],
    )
    def test_bad_outputs_are_refused(self, change, message):
        with pytest.raises(ValueError, match=message):
            WarmUp(**{"logits": torch.zeros(3, 2), "labels": torch.zeros(3, dtype=torch.int64), **change})


class TestSelect:
    @pytest.mark.parametrize("name", SELECTIONS)
    def test_indices_evidence_and_fraction_agree(self, name):
        early = outputs()
        chosen = select(name, early)
        assert chosen.indices.dtype == torch.int64 and len(chosen) == len(chosen.indices) > 0
        assert (chosen.indices.diff() > 0).all()
        assert np.flatnonzero(chosen.evidence["selected"]).tolist() == chosen.indices.tolist()
        assert chosen.fraction == len(chosen) / 60 and len(chosen.evidence) == 60
        assert torch.equal(chosen.indices, select(name, early).indices)

    def test_slow_clusters_as_scikit_learn_class_by_class(self):
        early = outputs()
        loss = F.cross_entropy(early.logits, early.labels, reduction="none").numpy()
        expected = []
        for label in range(3):
            members = np.flatnonzero(early.labels.numpy() == label)
            cluster = KMeans(2, n_init=20, random_state=99).fit(early.logits[members].numpy()).labels_
            parts = [members[cluster == c] for c in (0, 1)]
            expected += max(parts, key=lambda part: loss[part].mean()).tolist()
        assert select("slow_learnable", early).indices.tolist() == sorted(expected)

    def test_planted_slow_examples_are_found(self):
        generator = torch.Generator().manual_seed(1)
        labels, slow = torch.arange(200) % 4, torch.rand(200, generator=generator) < 0.3
        strength = torch.where(slow, 0.0, 4.0)[:, None]
        logits = 0.3 * torch.randn(200, 4, generator=generator) + F.one_hot(labels, 4) * strength
        found = select("slow_learnable", WarmUp(logits, labels))
        assert found.indices.tolist() == slow.nonzero().flatten().tolist()
        assert set(found.evidence["cluster"]) == {0, 1}

    def test_a_class_of_equal_outputs_has_no_slow_cluster(self):
        early = outputs()
        logits = torch.where((early.labels == 1)[:, None], torch.ones(3), early.logits)
        with pytest.warns(UserWarning, match="outputs of classes 1 do not fall into two clusters"):
            slow = slow_clusters(logits, early.labels)
        assert not slow[early.labels == 1].any()
        others = early.labels != 1
        assert torch.equal(slow[others], slow_clusters(early.logits, early.labels)[others])

    @pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e20, 1e300])
    def test_clusters_do_not_depend_on_the_scale(self, scale):
        """Clusters are those at the usual scale; which of them is slow is decided by the loss at its own."""
        early = outputs()
        labels, logits = early.labels, early.logits.double()
        usual, found = slow_clusters(logits, labels), slow_clusters(logits * scale, labels)
        loss = F.cross_entropy(logits * scale, labels, reduction="none")
        for label in range(3):
            own = labels == label
            assert torch.equal(found[own], usual[own]) or torch.equal(found[own], ~usual[own])
            assert loss[own & found].mean() >= loss[own & ~found].mean()
        shifted = slow_clusters(logits + 1e8, labels)
        assert torch.equal(shifted, usual)

    def test_logits_that_are_not_finite_are_refused(self):
        logits = outputs().logits.clone()
        logits[7, 1] = torch.nan
        with pytest.raises(ValueError, match="logits of example 7 are NaN"):
            slow_clusters(logits, outputs().labels)
        beyond = outputs().logits.double()
        beyond[9] = 1e300  # finite, but not as the float32 that a warm-up keeps
        with pytest.raises(ValueError, match="loss of example 9 is NaN"):
            select("high_loss", WarmUp(beyond, outputs().labels), size=3)

    def test_sizes(self):
        early = outputs()
        slow = len(select("slow_learnable", early))
        for name in ("high_loss", "random"):
            assert len(select(name, early)) == slow
        for name in ("high_loss", "forgetting", "random"):
            assert len(select(name, early, size=7)) == 7 and len(select(name, early, size=0.25)) == 15
        assert len(select("all", early)) == 60 and select("all", early).fraction == 1

    def test_high_loss_misclassified_and_random(self):
        early = outputs()
        evidence = early.evidence()
        assert set(select("high_loss", early, size=5).indices.tolist()) == set(evidence["loss"].nlargest(5).index)
        wrong = early.logits.argmax(1) != early.labels
        assert select("misclassified", early).indices.tolist() == wrong.nonzero().flatten().tolist()
        draws = [set(select("random", early, size=30, seed=seed).indices.tolist()) for seed in (0, 1)]
        assert draws[0] != draws[1]

    def test_forgetting_takes_the_forgettable_and_ranks_them(self):
        seen = ["1111", "0000", "0101", "1010", "0111", "0000"]
        correct = torch.tensor([[c == "1" for c in row] for row in seen]).T
        logits = torch.tensor([[0.0, 0], [1, 0], [0, 0], [0, 0], [0, 0], [-1, 0]])  # the last has the highest loss
        early = WarmUp(logits, torch.zeros(6, dtype=torch.int64), correct)
        assert select("forgetting", early).indices.tolist() == [1, 2, 3, 5]
        for size, expected in ((1, [5]), (2, [1, 5]), (3, [1, 3, 5]), (4, [1, 2, 3, 5])):
            assert select("forgetting", early, size=size).indices.tolist() == expected

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("slow", {}, "slow_learnable, high_loss"),
            ("slow_learnable", {"size": 3}, "decides its own size"),
            ("all", {"size": 0.5}, "decides its own size"),
            ("random", {"size": 0}, "size, where it is no share between 0 and 1, must be "),
            ("random", {"size": 61}, "size, where it is no share between 0 and 1, must be "),
            ("high_loss", {"size": 1.0}, "share between 0 and 1"),
            ("high_loss", {"size": True}, "share between 0 and 1"),
        ],
    )
    def test_bad_requests_are_refused(self, name, options, message):
        with pytest.raises(ValueError, match=message):
            select(name, outputs(), **options)

    def test_what_cannot_be_selected_is_refused(self):
        early = outputs()
        with pytest.raises(ValueError, match="two passes"):
            select("forgetting", WarmUp(early.logits, early.labels, early.correct[:1]))
        with pytest.raises(ValueError, match="selects none"):
            select("misclassified", WarmUp(torch.eye(2), torch.tensor([0, 1])))
        with pytest.raises(ValueError, match="class 2 has one"):
            select("slow_learnable", WarmUp(torch.zeros(5, 3), torch.tensor([0, 0, 1, 1, 2])))


class TestWarmUp:
    def test_flat_where_a_pass_gains_little(self):
        assert not is_flat([0.9]) and not is_flat([0.9, 0.9])  # no curve yet
        assert not is_flat([0.9, 0.5, 0.4]) and is_flat([0.9, 0.5, 0.4, 0.39])
        assert is_flat([0.9, 0.5, 0.51])
        # A slow start is no end: the error must have fallen by a quarter first.
        assert not is_flat([0.9, 0.91, 0.92]) and not is_flat([0.9, 0.89, 0.89])
        assert is_flat([0.9, 0.67, 0.67]) and not is_flat([0.9, 0.68, 0.68]) and not is_flat([0.0, 0.0, 0.0, 0.1])
        # The last fall is 0.02 of 0.42: 4.8 %.
        assert is_flat([0.9, 0.5, 0.48], share=0.05) and not is_flat([0.9, 0.5, 0.48], share=0.04)

    def test_is_the_beginning_of_the_whole_run(self):
        data, whole, early = digits(200), {}, resnet()
        last = 3 * 200 // 32  # the step in which the third pass ends
        train_classifier(
            resnet(), data.images, data.labels, steps=40, seed=1, batch_size=32, observe=lambda step, index, logits: whole.update({step: logits.clone()})
        )
        found = warm_up(early, data.images, data.labels, steps=40, seed=1, batch_size=32, passes=3)
        assert found.correct.shape == (3, 200) and not early.training
        # By hand: the logits of the third visit of each example.
        visits = batch_order(200, 32, 40, seed=1).flatten()
        logits = torch.cat([whole[step] for step in range(40)])
        expected = torch.empty(200, 10)
        expected[visits[400:600]] = logits[400:600]
        assert torch.equal(found.logits, expected)
        for number in range(3):
            part = slice(200 * number, 200 * (number + 1))
            correct = (logits[part].argmax(1) == data.labels[visits[part]]).double().mean().item()
            assert found.errors[number] == pytest.approx(1 - correct)
        # And it stopped there.
        stopped = resnet()
        train_classifier(stopped, data.images, data.labels, steps=40, seed=1, batch_size=32, observe=lambda step, index, logits: step == last)
        assert torch.equal(early.head.weight, stopped.head.weight)

    def test_batches_larger_than_the_data_set(self):
        data = digits(20)
        found = warm_up(resnet(), data.images, data.labels, steps=4, seed=0, batch_size=50, passes=9)
        assert found.correct.shape == (9, 20)

    def test_stops_where_the_curve_flattens(self):
        data = digits(200)
        found = warm_up(resnet(), data.images, data.labels, steps=100, seed=0, batch_size=50)
        assert 3 <= len(found.errors) < 25
        assert is_flat(found.errors) and not any(is_flat(found.errors[:i]) for i in range(len(found.errors)))

    def test_warns_where_it_does_not_flatten(self):
        data = digits(40)
        with pytest.warns(UserWarning, match="had not flattened after 8 steps"):
            found = warm_up(resnet(), data.images, data.labels, steps=8, seed=0, batch_size=20, lr=0.01)
        assert len(found.errors) == 4

    def test_reading_it_costs_no_pass_through_the_network(self):
        data, calls = digits(100), []
        model = resnet()
        model.register_forward_hook(lambda module, args, output: calls.append(len(output)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            early = warm_up(model, data.images, data.labels, steps=20, seed=0, batch_size=25, passes=3)
            select("slow_learnable", early)
        assert sum(calls) == 3 * 100 + 1  # one image before training, to count the classes

    def test_early_errors_are_those_of_the_network(self):
        """What is read in training agrees, example by example, with an evaluation pass afterwards (lr tiny: the same
        network); in training, batch normalisation sees the batch alone, so not to the last digit."""
        data, model = digits(200), resnet()
        train_classifier(model, data.images, data.labels, steps=60, seed=0, batch_size=50)
        found = warm_up(model, data.images, data.labels, steps=8, seed=0, batch_size=100, passes=4, lr=1e-9, augment="none")
        evaluated = predict(model, data.images).gather(1, data.labels[:, None])[:, 0].log().neg()
        assert np.corrcoef(found.evidence()["loss"], evaluated)[0, 1] > 0.95

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"passes": 0}, "at least 1"),
            ({"passes": 2.5}, "whole number"),
            ({"order": torch.zeros(1)}, "order itself"),
            ({"checkpoint": "state"}, "keeps no checkpoint"),
            ({"steps": 9, "passes": 3}, "9 steps of 50 are 2 whole passes over 200"),
            ({"steps": 9}, "three to see a curve"),
            ({"steps": 50, "augment": "mixup"}, "unknown augment"),
        ],
    )
    def test_bad_requests_are_refused(self, options, message):
        data = digits(200)
        with pytest.raises(ValueError, match=message):
            warm_up(resnet(), data.images, data.labels, **{"steps": 50, "seed": 0, "batch_size": 50, **options})
