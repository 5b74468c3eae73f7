import numpy as np
import pandas as pd
import pytest
import torch
from small import digits, resnet
from torch import nn

from synaug import resources
from synaug.augmentation import synthetic_pool, with_generated
from synaug.augmentation.pool_filters import filter_pool, near_copies
from synaug.augmentation.synthetic_pool import MOST_COPIES, SyntheticPool, generate_pool
from synaug.classifiers import predict
from synaug.data import ImageDataset, load_dataset, stratified_subset, to_bytes
from synaug.diffusion import denoisers
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.diffusion.empirical import EmpiricalDenoiser
from synaug.diffusion.perturbed import ScaledScore, ScoreNoise
from synaug.diffusion.reconstruction import generate, reconstruct
from synaug.metrics.near_copies import nearest


class Shrink:
    """A denoiser of a few lines: towards a grey that depends on the class. Counts the images it saw."""

    image_shape, num_classes = (1, 8, 8), 10

    def __init__(self):
        self.seen = 0

    def __call__(self, x, sigma, labels):
        self.seen += len(x)
        mean = (labels / 9.0 - 0.5).view(-1, 1, 1, 1)
        return mean + (x - mean) * 0.3 / (0.3 + sigma**2)


def known():
    """A denoiser that its class and its data tell all about."""
    return EmpiricalDenoiser(digits(100).floats(), digits(100).labels)


PLACES = torch.tensor([31, 2, 7, 3, 19])


def pool(k=4, sigmas=0.7, denoiser=None, **options):
    return generate_pool(denoiser or Shrink(), digits(40), PLACES, k=k, sigmas=sigmas, steps=3, **options)


class TestPool:
    def test_each_copy_is_a_reconstruction_with_its_own_seed(self):
        data, made = digits(40).subset(PLACES.sort().values), pool(sigmas=(0.4, 2.0), seed=3)
        assert made.k == 4 and len(made) == 15 and made.sources.tolist() == [2, 3, 7, 19, 31]
        for copy in (1, 2, 3):
            rows = slice(5 * (copy - 1), 5 * copy)
            expected = reconstruct(
                Shrink(), data.floats(), data.labels, sigma=[0.4, 2.0, 0.4][copy - 1], steps=3, seed=3 * MOST_COPIES + copy, source_index=data.source_index
            )
            assert torch.equal(made.data.images[rows], to_bytes(expected.images))
            assert torch.equal(made.data.labels[rows], data.labels)
            assert torch.equal(made.data.source_index[rows], data.source_index)
            origin = made.provenance[rows]
            assert origin["source"].tolist() == [2, 3, 7, 19, 31] and set(origin["copy"]) == {copy}
            assert origin["sigma"].tolist() == pytest.approx([[0.4, 2.0, 0.4][copy - 1]] * 5, rel=1e-12)
            assert origin["generator"].tolist() == expected.provenance["generator"].tolist()
        assert len(made.data.images.flatten(1).unique(dim=0)) == 15

    def test_k_5_holds_k_2_bit_for_bit(self):
        small, large = pool(k=2, sigmas=(0.5, 1.0)), pool(k=5, sigmas=(0.5, 1.0))
        part = large.take(k=2)
        assert torch.equal(large.data.images[:5], small.data.images) and part.k == 2
        assert torch.equal(part.data.images, small.data.images)
        pd.testing.assert_frame_equal(part.provenance, small.provenance)

    def test_no_copy_of_one_seed_is_a_copy_of_another(self):
        images = torch.cat([pool(seed=seed).data.images for seed in (0, 1, 2)])
        assert len(images.flatten(1).unique(dim=0)) == len(images)

    def test_from_noise_is_generation(self):
        data = digits(40).subset(PLACES.sort().values)
        made = generate_pool(Shrink(), digits(40), PLACES, k=3, from_noise=True, steps=4)
        expected = generate(Shrink(), data.labels, steps=4, seed=2, source_index=data.source_index)
        assert torch.equal(made.data.images[5:], to_bytes(expected.images))
        assert made.provenance["from_noise"].all()

    def test_parts_by_source(self):
        whole = pool()
        part = whole.take(sources=[19, 3], k=3)
        assert part.provenance[["copy", "source"]].to_numpy().tolist() == [[1, 3], [1, 19], [2, 3], [2, 19]]
        assert torch.equal(part.data.images, whole.data.images[[1, 3, 6, 8]])
        assert len(whole.take(k=1)) == 0
        with pytest.raises(ValueError, match="no images of 1 of the sources, such as 4"):
            whole.take(sources=[3, 4])
        with pytest.raises(ValueError, match="k must be at most 4, got 5"):
            whole.take(k=5)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"k": 1}, ValueError, "k, the original and its copies, must be a whole number of at least 2, got 1"),
            ({"k": 2.0}, ValueError, "whole number"),
            ({"sigmas": None}, ValueError, "from_noise=True"),
            ({"sigmas": (0.5, -1.0)}, ValueError, "positive"),
            ({"sigmas": (0.5, float("inf"))}, ValueError, "finite"),
            ({"seed": -1}, ValueError, "seed"),
            ({"sources": [3, 3]}, ValueError, "once each"),
            ({"sources": []}, ValueError, "n > 0"),
            ({"sources": [40]}, ValueError, r"0\.\.39"),
            ({"solver": "rk4"}, ValueError, "heun, euler"),
            ({"solver": "ancestral", "churn": 5.0}, ValueError, "take no churn"),
            ({"steps": 0}, ValueError, "steps"),
            ({"batch_size": 0}, ValueError, "batch_size must be a whole number of at least 1, got 0"),
        ],
    )
    def test_bad_requests_are_refused_before_the_first_image(self, change, error, message):
        denoiser = Shrink()
        with pytest.raises(error, match=message):
            generate_pool(denoiser, digits(40), **{"sources": PLACES, "k": 3, "sigmas": 0.5, "steps": 2, **change})
        assert denoiser.seen == 0

    def test_a_denoiser_of_other_classes_is_refused(self):
        data = ImageDataset(digits(40).images, digits(40).labels, tuple("abcdefghijk"))
        with pytest.raises(ValueError, match="10 classes, the data set has 11"):
            generate_pool(Shrink(), data, PLACES, k=2, sigmas=1.0)

    def test_classes_go_by_their_names(self):
        """A data set whose classes come in another order gets images of the same classes."""
        denoiser, data = known(), digits(40)
        denoiser.class_names = data.class_names
        turned = ImageDataset(data.images, 9 - data.labels, data.class_names[::-1], data.source_index)
        made, other = (generate_pool(denoiser, d, PLACES, k=3, sigmas=1.0, steps=3) for d in (data, turned))
        assert torch.equal(made.data.images, other.data.images) and torch.equal(9 - made.data.labels, other.data.labels)
        assert other.provenance["label"].tolist() == other.data.labels.tolist()
        assert with_generated(turned, other).data.class_names == turned.class_names
        wrong = ImageDataset(data.images, data.labels, tuple("abcdefghij"))
        for each in (denoiser, ScaledScore(denoiser, 1.1)):
            with pytest.raises(ValueError, match="not those of the generator"):
                generate_pool(each, wrong, PLACES, k=2, sigmas=1.0)

    def test_a_denoiser_that_says_nothing_of_classes_is_taken_also_under_a_wrapper(self):
        def plain(x, sigma, labels=None):
            return x / (1 + sigma**2)

        plainly, wrapped = (pool(denoiser=denoiser).data.images for denoiser in (plain, ScaledScore(plain, 1.0)))
        torch.testing.assert_close(plainly, wrapped, rtol=0, atol=1)

    @pytest.mark.parametrize("kept", [torch.tensor([0, 5]), torch.tensor([True, False]), [1] * 15, "all"])
    def test_what_is_kept_is_said_image_by_image(self, kept):
        with pytest.raises((ValueError, TypeError), match=r"bool \[15\]"):
            pool().keep(kept)


@pytest.fixture
def calls(monkeypatch):
    """The numbers of images in each call of `reconstruct` that generate_pool makes."""
    made = []

    def counted(denoiser, images, *arguments, **options):
        made.append(len(images))
        return reconstruct(denoiser, images, *arguments, **options)

    monkeypatch.setattr(synthetic_pool, "reconstruct", counted)
    return made


class TestStore:
    def test_is_made_once_and_read_again_as_it_was(self, tmp_path, monkeypatch, calls):
        monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path))
        first, again = (pool(k=3, denoiser=known()) for _ in range(2))
        assert calls == [5, 5] and len(list((tmp_path / "pools").iterdir())) == 2
        assert torch.equal(first.data.images, again.data.images)
        pd.testing.assert_frame_equal(first.provenance, again.provenance)
        larger = pool(k=4, denoiser=known())
        assert calls == [5, 5, 5]  # one copy more
        assert torch.equal(larger.take(k=3).data.images, first.data.images)

    @pytest.mark.parametrize("change", [lambda d: setattr(d, "precision", torch.bfloat16), lambda d: d.images.add_(1e-6), lambda d: setattr(d, "k", 3.0)])
    def test_another_denoiser_has_other_files(self, change, tmp_path, calls):
        denoiser = known()
        pool(k=2, denoiser=denoiser, folder=tmp_path)
        change(denoiser)
        pool(k=2, denoiser=denoiser, folder=tmp_path)
        assert calls == [5, 5]

    @pytest.mark.parametrize("option", [{"solver": "euler"}, {"churn": 1.0}, {"seed": 1}, {"sigmas": 0.8}, {"from_noise": True}])
    def test_other_settings_have_other_files(self, option, tmp_path, calls):
        for options in ({}, option):
            pool(**{"k": 2, "denoiser": known(), "folder": tmp_path, **options})
        assert calls == [5, 5]

    def test_where_the_code_that_makes_them_has_changed_they_are_made_anew(self, tmp_path, monkeypatch, calls):
        noisy = ScoreNoise(known(), 0.1, 1.0, seed=0)
        pool(k=2, denoiser=noisy, folder=tmp_path)
        for module, edited in ((synthetic_pool, "generate_pool"), (denoisers, "ScoreNoise"), (denoisers, "EmpiricalDenoiser")):
            with monkeypatch.context() as change:
                code = module.code_of
                change.setattr(module, "code_of", lambda one: "other" if one.__name__ == edited else code(one))
                pool(k=2, denoiser=noisy, folder=tmp_path)
        pool(k=2, denoiser=noisy, folder=tmp_path)
        assert calls == [5] * 4

    def test_a_cut_run_goes_on_by_blocks_of_whole_batches(self, tmp_path, monkeypatch, calls):
        whole = pool(k=3, denoiser=known(), batch_size=2)
        monkeypatch.setattr(synthetic_pool, "BLOCK", 1)
        named = {"k": 3, "denoiser": known(), "folder": tmp_path, "batch_size": 2}
        with monkeypatch.context() as cut:
            counted = synthetic_pool.reconstruct
            cut.setattr(synthetic_pool, "reconstruct", lambda *a, **o: counted(*a, **o) if len(calls) < 6 else 1 / 0)
            with pytest.raises(ZeroDivisionError):
                pool(**named)
        blocks = pool(**named)
        assert calls == [5, 5] + [2, 2, 1] * 2  # none twice
        assert torch.equal(blocks.data.images, whole.data.images)
        pd.testing.assert_frame_equal(blocks.provenance, whole.provenance)

    def test_damaged_files_are_made_again_and_a_folder_that_takes_none_is_done_without(self, tmp_path, calls):
        first = pool(k=2, denoiser=known(), folder=tmp_path)
        file = next(tmp_path.iterdir())
        file.write_bytes(file.read_bytes()[:200])
        with pytest.warns(UserWarning, match="cannot be read"):
            assert torch.equal(pool(k=2, denoiser=known(), folder=tmp_path).data.images, first.data.images)
        pool(k=2, denoiser=known(), folder=tmp_path)
        assert calls == [5, 5]
        with pytest.warns(UserWarning, match="cannot be kept"):
            again = pool(k=2, denoiser=known(), folder=file / "below a file")
        assert torch.equal(again.data.images, first.data.images)

    def test_too_little_memory_is_refused_before_the_first_image(self, monkeypatch):
        denoiser = Shrink()
        monkeypatch.setattr(resources, "free_memory", lambda device: 1000)
        with pytest.raises(MemoryError, match="a pool of 10 images needs about 1.[0-9]+kB of memory"):
            pool(k=3, denoiser=denoiser)
        assert denoiser.seen == 0

    def test_of_an_unknown_denoiser_nothing_is_kept(self, tmp_path):
        class Other(EmpiricalDenoiser):
            def __call__(self, x, sigma, labels=None):
                return 0 * x

        first = pool(k=2, denoiser=known(), folder=tmp_path / "known")
        for denoiser in (Shrink(), Other(digits(100).floats(), digits(100).labels), known().__call__):
            made = pool(k=2, denoiser=denoiser, folder=tmp_path / "none")
            assert set(made.provenance["generator"]) == {"unknown"} and not (tmp_path / "none").exists()
        assert torch.equal(made.data.images, first.data.images)

    def test_the_committed_generator_is_known_by_its_weights(self, tmp_path, calls):
        data = stratified_subset(load_dataset("fashion_mnist"), 10, seed=0)
        pools = [generate_pool(load_denoiser("fashion_mnist"), data, [0, 4, 7], k=3, sigmas=1.0, steps=2, folder=tmp_path) for _ in range(2)]
        assert calls == [3, 3] and torch.equal(pools[0].data.images, pools[1].data.images)
        assert set(pools[1].provenance["generator"]) == {generator_hash(load_denoiser("fashion_mnist"))}
        # It came back to the neighbourhood of its own source.
        _, index = nearest(pools[0].data.floats().flatten(1), data.floats().flatten(1))
        assert index.tolist() == [0, 4, 7] * 2
        other = load_denoiser("fashion_mnist")
        other.unet.conv_in.weight.mul_(1.01)
        generate_pool(other, data, [0, 4, 7], k=2, sigmas=1.0, steps=2, folder=tmp_path)
        assert calls == [3, 3, 3]


def planted(copies=3):
    """A pool whose first ``copies`` images are real ones with a little noise; the others are far from all real ones."""
    real = digits(100)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 1, 8, 8), generator=generator, dtype=torch.uint8)
    noise = torch.randint(-2, 3, (copies, 1, 8, 8), generator=generator)
    images[:copies] = (real.images[:copies].int() + noise).clamp(0, 255).to(torch.uint8)
    provenance = pd.DataFrame({"source": range(10), "copy": 1})
    labels = real.labels[:10].clone()
    data = ImageDataset(images, labels, real.class_names, real.source_index[:10])
    return SyntheticPool(data, provenance, torch.arange(10), 2), real


class TestFilters:
    def test_are_off_by_default(self):
        made, real = planted()
        kept, report = filter_pool(made, real)
        assert torch.equal(kept.data.images, made.data.images) and report["kept"].all()
        assert list(report.columns) == ["source", "copy", "kept"]

    def test_planted_near_copies_are_dropped_and_reported(self):
        made, real = planted()
        kept, report = filter_pool(made, real, near_copy_quantile=0.01)
        assert report["near_copy"].tolist() == [True] * 3 + [False] * 7
        assert report["kept"].tolist() == [False] * 3 + [True] * 7
        assert torch.equal(kept.data.images, made.data.images[3:])
        assert kept.provenance["source"].tolist() == list(range(3, 10)) and kept.k == 2
        distances = torch.cdist(made.data.floats().flatten(1), real.floats().flatten(1)).amin(1)
        np.testing.assert_allclose(report["distance"], distances, atol=1e-3)

    def test_the_rule_calls_its_share_of_fresh_real_images_near_copies(self):
        """2,000 points against 2,000 of the same distribution: binomial, three standard deviations about 10 %."""
        generator = torch.Generator().manual_seed(0)
        real, fresh = torch.randn(2, 2000, 6, generator=generator)
        _, near, expected = near_copies(fresh, real, 0.1)
        assert near.double().mean().item() == pytest.approx(0.1, abs=0.03)
        assert expected.double().mean().item() == pytest.approx(0.1, abs=0.002)

    def test_of_few_real_images_more_than_the_quantile_are_to_be_expected_and_are_said(self):
        """300 draws of 50 points; without duplicates the nearest two are 4 % of them, far above the quantile of 0.1 %."""
        generator, shares = torch.Generator().manual_seed(0), []
        for _ in range(300):
            real, fresh = torch.randn(2, 50, 6, generator=generator)
            _, near, expected = near_copies(fresh, torch.cat([real, real[:5]]), 0.001)
            shares.append((near.double().mean(), expected[:50].double().mean()))
        named, said = torch.tensor(shares).mean(0).tolist()
        assert said == pytest.approx(0.04) and named == pytest.approx(said, rel=0.25)

    def test_planted_off_class_images_are_dropped_and_reported(self):
        made, real = planted()

        class Judge(nn.Module):
            """Says class 4 of dark images and class 5 of bright ones."""

            def __init__(self):
                super().__init__()
                self.scale = nn.Parameter(torch.tensor(20.0))

            def forward(self, x):
                logits = torch.full((len(x), 10), -50.0)
                logits[:, 4], logits[:, 5] = -self.scale * x.mean(dim=(1, 2, 3)), self.scale * x.mean(dim=(1, 2, 3))
                return logits

        images = made.data.images.clone()
        images[::2], images[1::2] = 20, 230
        labels = torch.tensor([4, 5, 4, 5, 4, 5, 5, 4, 5, 4])
        made = SyntheticPool(ImageDataset(images, labels, real.class_names), made.provenance, made.sources, 2)
        kept, report = filter_pool(made, real, judge=Judge(), min_probability=0.5)
        assert report["off_class"].tolist() == [False] * 6 + [True] * 4
        assert report["label_probability"].to_numpy() == pytest.approx([1] * 6 + [0] * 4, abs=1e-6)
        assert kept.data.labels.tolist() == [4, 5, 4, 5, 4, 5]

    def test_a_judge_without_an_answer_is_an_error_that_says_where(self):
        class Broken(nn.Module):
            def __init__(self):
                super().__init__()
                self.unused = nn.Parameter(torch.zeros(1))

            def forward(self, x):
                return torch.where(x.mean(dim=(1, 2, 3), keepdim=False)[:, None] > -0.2, torch.nan, torch.eye(10)[:1])

        made, real = planted()
        first = int((made.data.floats().mean(dim=(1, 2, 3)) > -0.2).nonzero()[0])
        with pytest.raises(ValueError, match=f"outputs are NaN or infinite for .* of 10 images, first for image {first}"):
            filter_pool(made, real, judge=Broken(), min_probability=0.5)

    def test_both_together(self):
        made, real = planted()
        judge = resnet()
        probability = predict(judge, made.data.images).gather(1, made.data.labels[:, None])[:, 0]
        threshold = probability.median().item()
        kept, report = filter_pool(made, real, near_copy_quantile=0.01, judge=judge, min_probability=threshold)
        expected = (probability >= threshold).numpy() & (np.arange(10) > 2)
        assert report["kept"].tolist() == expected.tolist() and len(kept) == expected.sum()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"near_copy_quantile": 1.0}, "near_copy_quantile must be a finite number of more than 0 and less than 1"),
            ({"min_probability": 0.5}, "both a judge and"),
            ({"judge": nn.Identity()}, "both a judge and"),
            ({"judge": nn.Identity(), "min_probability": 0.0}, "min_probability must be a finite number of more than 0 and at most 1"),
        ],
    )
    def test_bad_rules_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            filter_pool(*planted(), **options)

    def test_a_judge_of_other_classes_is_refused(self):
        judge = resnet(3)
        with pytest.raises(ValueError, match="the judge knows 3 classes, the pool has 10"):
            filter_pool(*planted(), judge=judge, min_probability=0.5)

    def test_images_of_another_shape_are_refused(self):
        made, real = planted()
        wider = ImageDataset(torch.zeros(4, 1, 8, 9, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ("a",))
        with pytest.raises(ValueError, match=r"\(1, 8, 8\), the real ones are \(1, 8, 9\)"):
            filter_pool(made, wider, near_copy_quantile=0.1)
