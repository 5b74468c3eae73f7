"""Generators of all families under one contract; what the VAE and the GAN are, against closed forms."""

import copy
import json
import math
from dataclasses import replace

import pytest
import torch
from sklearn.decomposition import PCA
from test_generator_training import run, same, state_of

from synaug.__main__ import main
from synaug.augmentation.synthetic_pool import MOST_COPIES, generate_pool
from synaug.data import ImageDataset, load_dataset, save_image_folder, stratified_subset, to_bytes
from synaug.diffusion.denoisers import generator_hash, load_denoiser, weights_hash
from synaug.diffusion.empirical import EmpiricalDenoiser
from synaug.diffusion.recipe import RECIPES, Recipe
from synaug.diffusion.reconstruction import reconstruct
from synaug.diffusion.schedules import SIGMA_MAX
from synaug.generators import GAN, VAE, Diffusion, load_generator
from synaug.generators.gan import diff_augment
from synaug.generators.training import snapshot_folder, trained_on

DIGITS = stratified_subset(load_dataset("digits"), 200, 0)
SOME, LABELS = DIGITS.floats()[:12], DIGITS.labels[:12]
TINY = {
    name: Recipe(
        dataset="digits",
        subset_size=1200,
        channels=(16,),
        batch_size=20,
        warmup=5,
        decay_from=20,
        seed=3,
        family=name,
        latent=3,
        drop_label=0.0,
        unconditional=5 * (name == "gan"),
    )
    for name in ("vae", "gan")
}


def made(family):
    """A generator of a family for digits, untrained but ready."""
    if family == "diffusion":
        return Diffusion(EmpiricalDenoiser(DIGITS.floats(), DIGITS.labels), steps=4, sigma_data=0.6)
    model = {"vae": VAE, "gan": GAN}[family]((1, 8, 8), DIGITS.class_names, (16,), 4, seed=1).eval().requires_grad_(False)
    model.fit(DIGITS.images, DIGITS.labels) if family == "vae" else model.settle()
    return model


def normal(n):
    """Standard normal numbers of n images, as a generator draws them."""
    return lambda stream, *shape: torch.randn(n, *shape, generator=torch.Generator().manual_seed(stream))


@pytest.fixture(scope="module", params=["diffusion", "vae", "gan"])
def generator(request):
    return made(request.param)


class TestContract:
    def test_at_strength_1_nothing_is_left_of_the_images(self, generator):
        first, other = (generator.reconstruct(x, LABELS, 1.0, seed=5).images for x in (SOME, SOME.flip(0)))
        assert torch.equal(first, other) and torch.equal(first, generator.sample(LABELS, 5).images)
        assert first.shape == SOME.shape and first.abs().max() <= 1
        assert not torch.equal(first, generator.sample(LABELS, 6).images)
        # Of one index, seed and class, whatever the order and the batches.
        turned = generator.sample(LABELS.flip(0), 5, source_index=range(11, -1, -1), batch_size=5).images.flip(0)
        torch.testing.assert_close(turned, first, atol=1e-4, rtol=0)

    @pytest.mark.parametrize("strength", [0, 0.5, 1])
    def test_it_works_in_inference_mode_too(self, generator, strength):
        outside = generator.reconstruct(SOME, LABELS, strength, seed=1).images
        with torch.inference_mode():
            inside = generator.reconstruct(SOME.clone(), LABELS.clone(), strength, seed=1).images
            loaded = copy.deepcopy(generator) if isinstance(generator, torch.nn.Module) else generator
            again = loaded.reconstruct(SOME.clone(), LABELS.clone(), strength, seed=1).images
        torch.testing.assert_close(inside, outside)
        torch.testing.assert_close(again, outside)
        torch.testing.assert_close(loaded.reconstruct(SOME, LABELS, strength, seed=1).images, outside)

    def test_strength_0_has_no_noise_and_strengths_lie_in_between(self, generator):
        nearest, again = (generator.reconstruct(SOME, LABELS, 0, seed=seed).images for seed in (1, 2))
        assert torch.equal(nearest, again)
        distances = [(generator.reconstruct(SOME, LABELS, s).images - nearest).square().mean().item() for s in (0.1, 0.9, 1)]
        assert distances[0] < 0.2 * distances[1] and distances[1] < distances[2]

    def test_provenance(self, generator):
        origin = generator.reconstruct(SOME, LABELS, 0.5, 7, source_index=range(3, 15)).provenance
        assert origin["source_index"].tolist() == list(range(3, 15)) and origin["label"].tolist() == LABELS.tolist()
        assert (set(origin["strength"]), set(origin["seed"])) == ({0.5}, {7})
        assert set(origin["generator"]) == {generator_hash(getattr(generator, "denoiser", generator))} != {"unknown"}

    @pytest.mark.parametrize(
        "change, message",
        [
            ({"strength": 1.1}, "strength must be a finite number of at least 0 and at most 1"),
            ({"strength": "x"}, "strength"),
            ({"labels": [10] * 12}, r"labels must be in 0\.\.9"),
            ({"labels": LABELS[:3]}, "N = 12"),
            ({"seed": -1}, "seed"),
            ({"images": 3 * SOME}, r"must be in \[-1, 1\]"),
            ({"images": SOME[:, :, 1:]}, "is for images"),
            ({"batch_size": 0}, "batch_size"),
            ({"source_index": [0]}, "source_index"),
        ],
    )
    def test_bad_input(self, generator, change, message):
        with pytest.raises(ValueError, match=message):
            generator.reconstruct(**{"images": SOME, "labels": LABELS, "strength": 0.5, **change})

    def test_pools_take_any(self, generator, tmp_path):
        options = {"sources": [4, 1], "seed": 3, "folder": tmp_path}
        pool = generate_pool(generator, DIGITS, k=4, strengths=(0.3, 1), **options)
        again = generate_pool(generator, DIGITS, k=3, strengths=(0.3, 1), **options)
        assert torch.equal(pool.take(k=3).data.images, again.data.images) and len(list(tmp_path.iterdir())) == 3
        assert pool.provenance["strength"].tolist() == [0.3, 0.3, 1, 1, 0.3, 0.3]
        real = DIGITS.subset([1, 4])
        expected = generator.reconstruct(real.floats(), real.labels, 0.3, 3 * MOST_COPIES + 1, source_index=real.source_index)
        assert torch.equal(pool.data.images[:2], to_bytes(expected.images))
        from_noise = generate_pool(generator, DIGITS, k=3, from_noise=True, **options).data.images[2:]
        assert torch.equal(from_noise, pool.data.images[2:4])
        for wrong in ({"sigmas": 1.0}, {}, {"strengths": 2}, {"strengths": []}):
            with pytest.raises(ValueError, match="strengths"):
                generate_pool(generator, DIGITS, k=2, **options, **wrong)


class TestDiffusion:
    def test_is_reconstruct_at_the_noise_that_has_the_share_of_the_variance(self):
        wrapped = made("diffusion")
        sigma = wrapped.sigma_of(0.6)
        assert sigma**2 / (sigma**2 + 0.6**2) == pytest.approx(0.36) and wrapped.sigma_of(1) == SIGMA_MAX
        expected = reconstruct(wrapped.denoiser, SOME, LABELS, sigma=sigma, steps=4, seed=2).images
        assert torch.equal(wrapped.reconstruct(SOME, LABELS, 0.6, 2).images, expected)
        assert torch.equal(wrapped.reconstruct(SOME, LABELS, 0).images, SOME)
        new = reconstruct(wrapped, SOME, LABELS, sigma=SIGMA_MAX, from_noise=True, steps=4, seed=2).images
        assert torch.equal(wrapped.sample(LABELS, 2).images, new)

    def test_takes_what_its_sampler_takes(self):
        known = EmpiricalDenoiser(SOME, LABELS)
        for wrong, message in (({}, "sigma_data"), ({"steps": 0}, "steps"), ({"solver": "x"}, "solver"), ({"sigma_data": -1}, "sigma_data")):
            with pytest.raises(ValueError, match=message):
                Diffusion(known, **wrong)

    def test_a_saved_denoiser_is_known_by_its_weights(self):
        loaded = load_generator("fashion_mnist_2000")
        assert generator_hash(loaded) == generator_hash(load_denoiser("fashion_mnist_2000"))
        loaded.steps = 3
        assert generator_hash(loaded) != generator_hash(loaded.denoiser)
        with pytest.raises(ValueError, match="strengths are for generators"):
            generate_pool(loaded.denoiser, DIGITS, [0], k=2, strengths=0.5)


class TestVAE:
    def test_a_linear_one_is_probabilistic_pca(self):
        """Its bound, its loadings and its noise, against scikit-learn's closed form (Tipping & Bishop 1999)."""
        x = normal(2000)(0, 2) @ torch.tensor([[1, 2, 0, 1, -1, 0.5], [0, 0.5, 1, -1, 1, 0.3]]) + 0.5 + 0.4 * normal(2000)(1, 6)
        images, labels, pca = x.view(-1, 1, 2, 3), torch.zeros(2000, dtype=torch.int64), PCA(2).fit(x.numpy())
        vae = VAE((1, 2, 3), ("a",), (), 2)
        adam = torch.optim.Adam(vae.parameters(), 0.02)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(adam, 1500)
        for step in range(1500):
            adam.zero_grad()
            vae(images, labels, normal(2000)(2 + step, 2)).mean().backward()
            adam.step()
            slower.step()
        with torch.no_grad():
            bound = torch.stack([vae(images, labels, normal(2000)(seed, 2)).mean() for seed in range(10)]).mean()
            assert bound == pytest.approx(-pca.score(x.numpy()) / 6, abs=0.01)
            zero, *units = vae.decoded(torch.tensor([[0.0, 0], [1, 0], [0, 1]]), labels[:3]).flatten(1)
            loadings = torch.stack(units) - zero
            model = loadings.T @ loadings + pca.noise_variance_ * torch.eye(6)
            torch.testing.assert_close(model, torch.from_numpy(pca.get_covariance()).float(), atol=0.1, rtol=0)

    def test_its_loss_falls(self, tmp_path):
        recipe = replace(TINY["vae"], decay_from=10**9, learning_rate=2e-3)
        first, last = (run(tmp_path, steps, recipe).curve[-1]["held_out_loss"] for steps in (1, 200))
        assert last < first - 0.05

    @pytest.fixture
    def vae(self):
        return made("vae")

    def test_mixtures_are_those_of_the_latent_vectors(self, vae):
        labels = torch.full((20_000,), 3)
        own = DIGITS.subset((DIGITS.labels == 3).nonzero().flatten())
        mean, log_variance = vae.posterior(own.floats(), own.labels)
        drawn = vae.draw(labels, normal(20_000))
        covariance = mean.T.cov(correction=0) + log_variance.exp().mean(0).diag()
        # Fitted to two draws of 20 images.
        torch.testing.assert_close(drawn.mean(0), mean.mean(0), atol=4 / math.sqrt(40), rtol=0)
        assert drawn.T.cov().diag().div(covariance.diag()).log().abs().max() < 1
        # At any strength, latent vectors keep the mixture's mean and covariance.
        mixed = vae.between(drawn[:10_000], drawn[10_000:], labels[:10_000], 0.6)
        torch.testing.assert_close(mixed.mean(0), vae.centres[3], atol=0.05, rtol=0)
        torch.testing.assert_close(mixed.T.cov(), drawn.T.cov(), atol=0.06, rtol=0)
        vae.density = "normal"
        assert torch.equal(vae.between(drawn, -drawn, labels, 0.6), 0.8 * drawn - 0.6 * drawn)

    def test_several_components_where_there_are_several(self):
        """Two groups of images within a class, in the latent space of an encoder that shows them as they are."""
        vae = VAE((1, 2, 1), ("a",), (), 2).requires_grad_(False)
        vae.head.weight.copy_(torch.eye(4, 2 + 8))
        vae.head.bias.copy_(torch.tensor([0.0, 0, -9, -9]))
        x = torch.tensor([[-0.8, 0.5], [0.6, -0.5]]).repeat(60, 1) + 0.05 * normal(120)(0, 2)
        vae.fit(to_bytes(x.view(-1, 1, 2, 1)), torch.zeros(120, dtype=torch.int64))
        assert vae.shares[0].tolist() == pytest.approx([0.5, 0.5, 0, 0]) and sorted(vae.means[0, :2, 0].tolist()) == pytest.approx([-0.8, 0.6], abs=0.05)
        every = torch.zeros(5000, dtype=torch.int64)
        drawn = vae.draw(every, normal(5000))
        assert (drawn[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.03)
        torch.testing.assert_close(drawn.T.cov(), x.T.cov(), atol=0.03, rtol=0)
        # The divergence of one Gaussian from the prior.
        m, c = vae.centres[0].double(), drawn.T.cov().double()
        assert vae.departure()[0].item() == pytest.approx(((c.trace() + m @ m - 2 - c.logdet()) / 2).item(), abs=0.1)

    def test_arms(self, vae):
        plain = vae.sample(LABELS).images
        vae.decoder_noise = True
        vae.sigma.fill_(0.1)
        difference = (vae.sample(LABELS).images - plain)[plain.abs() < 0.3]
        assert difference.std() == pytest.approx(0.1, rel=0.15) and abs(difference.mean()) < 0.02
        vae.decoder_noise = False
        nearest = vae.decoded(vae.posterior(SOME, LABELS)[0], LABELS).clamp(-1, 1)
        torch.testing.assert_close(vae.reconstruct(SOME, LABELS, 0).images, nearest)
        vae.density = "normals"
        with pytest.raises(ValueError, match="unknown density 'normals': choose one of mixture, normal"):
            vae.sample(LABELS)


class TestGAN:
    def test_learns_the_mean_and_the_scale_of_one_number(self, tmp_path):
        """Images of one grey each, normal, of other mean and scale in each of two classes."""
        labels, mean, scale = torch.arange(1200) % 2, torch.tensor([-0.4, 0.3]), torch.tensor([0.1, 0.25])
        grey = mean[labels] + scale[labels] * normal(1200)(0)
        images = to_bytes(grey.clamp(-1, 1)).view(-1, 1, 1, 1).repeat(1, 1, 4, 4)
        save_image_folder(ImageDataset(images, labels, ("a", "b")), tmp_path / "greys" / "train")
        recipe = replace(
            RECIPES["gan"], dataset=str(tmp_path / "greys"), subset_size=1000, channels=(16,), latent=4, batch_size=64, learning_rate=2e-3, unconditional=100
        )
        first, last = (run(tmp_path / "gan", steps, recipe).curve[-1]["held_out_loss"] for steps in (1, 800))
        assert last < first / 5  # the encoder learns, too
        classes = torch.arange(1000) % 2
        sampled = load_generator(tmp_path / "gan").sample(classes).images.mean((1, 2, 3)).view(500, 2)
        torch.testing.assert_close(sampled.mean(0), mean, atol=0.12, rtol=0)
        torch.testing.assert_close(sampled.std(0), scale, atol=0, rtol=0.5)

    def test_what_it_can_make_it_finds_again(self):
        gan = made("gan")
        own, errors = gan.sample(LABELS, 3).images, []
        for gan.inversion_steps in (100, 0):
            errors.append((gan.reconstruct(own, LABELS, 0).images - own).square().mean((1, 2, 3)).median())
        assert errors[0] < 0.02 * errors[1]

    def test_between_is_on_the_sphere(self):
        z, drawn = (5 * torch.nn.functional.normalize(normal(50)(stream, 4)) for stream in (0, 1))
        gan = made("gan")
        for strength in (0, 0.3, 1):
            torch.testing.assert_close(gan.between(z, drawn, LABELS, strength).norm(dim=1), torch.full((50,), 5.0))
        x, y = torch.eye(4)[:2].split(1)
        torch.testing.assert_close(gan.between(x, y, LABELS, 0.6), 0.8 * x + 0.6 * y)

    def test_diff_augment_moves_and_cuts(self):
        x = torch.rand(200, 2, 8, 16, generator=torch.Generator().manual_seed(0)) + 1
        done = diff_augment(x.requires_grad_(), torch.Generator().manual_seed(1))
        padded = torch.nn.functional.pad(x, (2, 2, 1, 1))
        seen = set()
        for image, before in zip(done, padded):
            kept, moves = (image != 0).all(0), [(i, j) for i in range(3) for j in range(5)]
            ((i, j),) = (m for m in moves if torch.equal(image[:, kept], before[:, m[0] : m[0] + 8, m[1] : m[1] + 16][:, kept]))
            cut = (before[0, i : i + 8, j : j + 16] != 0) & ~kept
            assert cut.sum() == cut.any(1).sum() * cut.any(0).sum() <= 4 * 8  # a rectangle
            seen.add((i, j))
        assert len(seen) == 15
        done.sum().backward()
        assert torch.equal((x.grad != 0).flatten(1).sum(1), (done != 0).flatten(1).sum(1))


@pytest.mark.parametrize("family", ["vae", "gan"])
class TestTraining:
    def test_a_cut_run_goes_on_as_if_it_had_not_been_and_its_files_are_the_model(self, family, tmp_path):
        recipe = TINY[family]
        whole = run(tmp_path / "whole", 12, recipe, snapshots=(6 * 20,))
        for steps in (1, 6, 12):
            run(tmp_path / "cut", steps, recipe)
        assert same(state_of(tmp_path / "cut"), state_of(tmp_path / "whole"))
        first, again = (load_generator(tmp_path / name) for name in ("whole", "cut"))
        record = json.loads((tmp_path / "whole" / "training_record.json").read_text())
        assert record["weights"] == generator_hash(first) == generator_hash(again) == weights_hash(first)
        assert (record["images_seen"], record["parameters"]) == (240, sum(p.numel() for p in first.parameters()))
        assert record["curve"][-1]["held_out_loss"] > 0 or family == "vae"
        assert torch.equal(first.sample(LABELS).images, again.sample(LABELS).images)
        with whole.averaged():
            exact = whole.finished().eval()
        exact.precision = torch.float32
        torch.testing.assert_close(first.sample(LABELS).images, exact.sample(LABELS).images, atol=0.02, rtol=0)
        assert load_generator(snapshot_folder(tmp_path / "whole", 120)).class_names == DIGITS.class_names
        assert len(trained_on(tmp_path / "whole")[1]) == 1200

    def test_damaged_files_are_named(self, family, tmp_path):
        model = made(family)
        weights = model.save(tmp_path)
        with pytest.raises(ValueError, match=r"no diffusion model: synaug.generators.load_generator"):
            load_denoiser(tmp_path)
        assert weights_hash(load_generator(tmp_path)) == weights
        for name, content in (
            ("training_record.json", b'{"weights": "00"}'),
            ("generator.safetensors", b"x" * 50),
            ("generator.json", b'{"family": "x"}'),
            ("generator.json", b"{"),
        ):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ValueError, match=f"(?s)damaged.*{name}|{name}.*damaged"):
                load_generator(tmp_path)
        model.save(tmp_path)
        (tmp_path / "generator.safetensors").unlink()
        with pytest.raises(FileNotFoundError, match=r"generator\.safetensors is missing"):
            load_generator(tmp_path)
        with pytest.raises(ValueError, match="holds a generator but no training_state.pt"):
            run(tmp_path, 1, TINY[family])

    def test_what_cannot_be_is_refused(self, family, tmp_path, monkeypatch, capsys):
        for wrong, message in (
            ({"dropout": 0.1}, "dropout must be 0.0"),
            ({"drop_label": 0.1}, "drop_label must be 0.0"),
            ({"latent": -1}, "latent"),
            ({"family": "flow"}, "unknown family 'flow'"),
        ):
            with pytest.raises(ValueError, match=message):
                replace(TINY[family], **wrong)
        with pytest.raises(ValueError, match="latent, unconditional must be 0, 0 in a recipe of the family diffusion"):
            Recipe(latent=3, unconditional=3)
        for wrong, message in (({"latent": 1}, "latent"), ({"channels": (12,)}, "multiples of 8"), ({"channels": (8, 8, 8, 8)}, "cannot be halved 4 times")):
            with pytest.raises(ValueError, match=message):
                run(tmp_path / "new", 1, replace(TINY[family], **wrong))
        model = made(family).train()
        with pytest.raises(ValueError, match="in training mode"):
            model.sample(LABELS)
        with pytest.raises(ValueError, match="labels must be given"):
            model.eval().reconstruct(SOME, None, 0.5)
        words = f"train-generator --recipe {family} --dataset digits --subset-size 600 --channels 16 --folder {tmp_path / 'run'}"
        assert main([*words.split(), "--images", "128"]) == 0 and (tmp_path / "run" / "generator.json").exists()
        assert main([*words.split(), "--patch", "1"]) == 1 and "patch must be 2" in capsys.readouterr().err
        monkeypatch.setattr("synaug.diffusion.trainer.process_rank", lambda device: (0, 2))
        assert main([*words.split(), "--images", "256"]) == 1 and f"a {family} is trained by one process" in capsys.readouterr().err
