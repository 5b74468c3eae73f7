"""Quality levels, sampler settings and exploration terms on a real generator: what a run measures."""

import numpy as np
import pandas as pd
import pytest
import torch

from synaug.chapters.sampling import drawn, fresh
from synaug.chapters.tasks import real_images_of, recipe_of, trained_generators, usual_denoiser, weights_of
from synaug.chapters.where_concentration_comes_from import real_generators as chapter
from synaug.chapters.where_concentration_comes_from import real_generators_figures as figures
from synaug.chapters.where_concentration_comes_from.real_generators import EXPERIMENT, levels, loss_rows, pool
from synaug.classifiers import accuracy, build_classifier, predict, train_classifier
from synaug.data import stratified_subset, to_bytes
from synaug.diffusion.denoisers import denoising_loss, load_denoiser, weights_hash
from synaug.diffusion.exploration import AnnealedClass
from synaug.diffusion.recipe import Recipe
from synaug.diffusion.reconstruction import generate
from synaug.generators.training import snapshot_folder, train
from synaug.plots import table_html
from synaug.run import Store
from synaug.run.results import load_recorded
from synaug.statistics import paired_interval

#: A smoke run of all parts, with a generator that is trained.
SMALL = dict(profile="smoke", parts=("levels", "samplers", "exploration"), sizes=[[16, 32]], snapshots=32, strengths={"CADS": (1.0,), "autoguidance": (2.0,)})


class TestRun:
    def test_every_part_is_measured(self, frame):
        found = frame.groupby(["part", "arm", "level"])["metric"].agg(set)
        geometry = {"frechet_distance", "centroid_distance_ratio", "covariance_logdet_ratio", "precision", "recall", "density", "coverage", "outer_edge_recall"}
        losses = {"denoising_loss", "loss_excess", "mean_loss", "mean_loss_excess"}
        assert found["floor", "real alone", "noise"] == {"accuracy_with_real"}
        for arm in ("plain", "CADS", "autoguidance"):
            assert found["exploration", arm, "noise"] == geometry | {"accuracy", "accuracy_with_real"}
        assert found["floor", "fresh real", "noise"] == found["exploration", "plain", "noise"]
        assert found["samplers", "Heun", "noise"] == geometry | {"accuracy"}
        for arm in ("saved", "(16, 32)"):
            assert found["levels", arm, "noise"] == geometry | {"accuracy"} | losses
            assert found["levels", arm, "middle"] == geometry | {"accuracy"}
        assert frame["value"].notna().all()

    def test_quality_levels_are_ranked_by_their_loss(self, frame):
        losses = frame[frame["metric"] == "mean_loss"].set_index("arm")["value"]
        assert losses["saved"] < 0.4 < losses["(16, 32)"]  # 32 images of training leave the loss of an empty network, 1
        assert frame[frame["part"] == "levels"].groupby("arm")["x"].unique().map(list).to_dict() == {"saved": [1.0], "(16, 32)": [2.0]}

    def test_a_part_alone_gives_the_same(self, frame):
        parts = EXPERIMENT.run("smoke", parts="samplers")
        expected = frame[frame["part"].isin(["floor", "samplers"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(parts, expected[parts.columns], check_like=True)

    def test_accuracy_is_that_of_a_classifier_trained_on_both_sets(self, frame, chosen):
        real, own = real_images_of("fashion_mnist"), Store().get(fresh(chosen, 1))
        sources, test = stratified_subset(real.trained, 150, 0), stratified_subset(real.test, 100, 0)
        model = build_classifier("resnet8", (1, 28, 28), 10, 0)
        train_classifier(model, torch.cat([sources.images, own.images]), torch.cat([sources.labels, own.labels]), steps=3, seed=0, batch_size=64)
        row = frame[(frame["arm"] == "fresh real") & (frame["metric"] == "accuracy_with_real")]
        assert row["value"].item() == accuracy(predict(model, test.images), test.labels)

    def test_sets_do_not_overlap(self, chosen):
        trained = real_images_of("fashion_mnist").trained
        sets = [set(Store().get(fresh(chosen, place)).source_index.tolist()) for place in (0, 1)]
        assert len(sets[0] | sets[1]) == 300 and not (sets[0] | sets[1]) & set(trained.source_index.tolist())

    @pytest.mark.parametrize(
        "changed, message",
        [
            ({"parts": ("dial",)}, "parts must be .* levels, samplers, exploration"),
            ({"strengths": {"cads": (1,)}}, "strengths must be lists by exploration term, of .* got 'cads'"),
            ({"strengths": {"CADS": 1}}, "strengths must be lists"),
            ({"strengths": {"CADS": (-1,)}}, "strengths: scale must be a finite number of at least 0, got -1"),
            ({"strengths": {"noise inflation": (-1,)}}, "strengths: .*s_noise"),
            ({"sampler_settings": (("rk4", 5, 0, 1),)}, "sampler_settings: unknown solver 'rk4'"),
            ({"sampler_settings": [["heun", 5]]}, "each of sampler_settings"),
            ({"sampler_settings": (("ancestral", 5, 5.0, 1),)}, "sampler_settings: ancestral"),
            ({"middle": 0}, "middle must be .* at least 1"),
            ({"n_images": 149}, "n_images must be at least 15 per class, 150"),
            ({"k": 150}, "above k = 150"),
            ({"seeds": 400}, "60150 unseen images are needed, fashion_mnist has 50000"),
            ({"seeds": 0}, "seeds must be a whole number of at least 1"),
            ({"n_losses": 9}, "n_losses must be from 10 to 50000 .at least one per class"),
            ({"sizes": ()}, "need sizes and snapshots"),
            ({"sizes": ((15, 32),)}, "sizes: channels must be multiples"),
            ({"sizes": (16, 32)}, "sizes must be"),
            ({"snapshots": (0,)}, "snapshots must be .* at least 1"),
            ({"loss_sigmas": (0.0,)}, "loss_sigmas must be positive"),
            ({"encoder": "vgg"}, "encoder must be one of"),
            ({"classifier": "vgg"}, "classifier must be one of"),
        ],
    )
    def test_bad_parameters_are_refused_at_once(self, changed, message):
        with pytest.raises(ValueError, match=message):
            EXPERIMENT.settings(**{**SMALL, **changed})

    @pytest.mark.parametrize("profile", ["quick", "standard", "paper"])
    def test_other_profiles_can_be_laid_out(self, profile):
        settings = EXPERIMENT.settings(profile)
        names = {(about["part"], about.get("arm")) for about, _ in chapter.rows(settings)}
        assert {("exploration", term) for term in settings.strengths} < names
        assert ("levels" in settings.parts) == any(part == "levels" for part, _ in names)


class TestQualityLevels:
    def test_losses_are_those_of_each_image(self):
        images, weights = stratified_subset(real_images_of("fashion_mnist").unseen, 20, 0), weights_of("fashion_mnist")
        losses = chapter.denoising_losses(images, generator="fashion_mnist", weights=weights, precision="", device="cpu", images=None, sigmas=[0.3, 3.0])
        noise = torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        denoiser = usual_denoiser("fashion_mnist", weights)
        for row, sigma in zip(losses, (0.3, 3.0)):
            whole = denoising_loss(denoiser, images.floats(), images.labels, torch.full((20,), sigma), noise)
            np.testing.assert_allclose(row, whole.numpy(), rtol=1e-3)

    def test_excess_is_paired_with_the_best_at_each_level(self):
        own = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[2.0, 5.0], [1.0, 1.5]])  # best: first, then second
        rows = loss_rows(*own, sigmas=[0.1, 1.0], names=[{"arm": name} for name in "ab"])
        excess = rows[rows["metric"] == "loss_excess"].set_index(["arm", "sigma"])
        assert excess["value"].to_dict() == {("a", 0.1): 0, ("a", 1.0): 0.75, ("b", 0.1): 1.5, ("b", 1.0): 0}
        assert excess.loc[("b", 0.1), "high"] - 1.5 == pytest.approx(1.96 * np.std([1, 2], ddof=1) / 2**0.5)

    def test_are_the_generators_of_a_training_by_the_recipe(self, chosen, tmp_path):
        recipe = {**recipe_of(chosen.generator), "dataset": "digits", "subset_size": 100, "channels": (16, 32), "batch_size": 8}
        assert recipe["seed"] == 0 and recipe_of(chosen.generator)["subset_size"] == 10_000
        found = trained_generators(recipe, [8, 16], "cpu", tmp_path / "own")
        train(Recipe(**recipe), tmp_path / "other", images=16, snapshots=[8, 16], progress=False)
        for images, generator in found.items():
            other = load_denoiser(snapshot_folder(tmp_path / "other", images))
            assert weights_hash(generator.load().denoiser) == weights_hash(other)
        assert weights_hash(found[8].load().denoiser) != weights_hash(found[16].load().denoiser)

    def test_come_back_from_the_store_as_they_were(self, frame, chosen):
        generator = Store().get(levels(chosen, (16, 32)))[32]
        x, labels = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(4)
        made = Store().get(pool(chosen, 2, size=(16, 32), images=32))
        by_hand = generate(generator.load().denoiser, made.labels, steps=2, source_index=made.source_index)
        assert torch.equal(made.images, to_bytes(by_hand.images))
        assert generator.load().denoiser(x, 1.0, labels).isfinite().all()


class TestPools:
    def test_are_what_the_sampler_draws(self, chosen):
        sources = stratified_subset(real_images_of("fashion_mnist").trained, 10, 0)
        task = pool(chosen, 3, term="CADS", strength=0.5, seed=4)
        made = drawn(sources, **task.params)
        denoiser = usual_denoiser("fashion_mnist", weights_of("fashion_mnist"))
        by_hand = generate(AnnealedClass(denoiser, 0.5, seed=4), sources.labels, steps=3, seed=4, source_index=sources.source_index)
        assert torch.equal(made.images, to_bytes(by_hand.images)) and torch.equal(made.labels, sources.labels)
        with pytest.raises(RuntimeError, match="another one here"):
            drawn(sources, **{**task.params, "weights": "0123"})

    def test_noise_inflation_is_a_setting_of_the_sampler(self, chosen):
        task = pool(chosen, 10, term="noise inflation", strength=1.05)
        assert task.params["churn"] == 2.0 and task.params["s_noise"] == 1.05  # each step raises its level by 2 / 10
        assert chapter.TERMS["noise inflation"]("denoiser", 1.05, 0, None) == "denoiser"

    def test_the_plain_pool_is_shared(self):
        """The saved generator from noise: once among the quality levels, the sampler's settings and the terms."""
        settings = EXPERIMENT.settings("standard")
        plain, found = pool(settings, settings.steps).key, {}
        for about, task in chapter.rows(settings):
            found.setdefault(about["part"], set()).update(need.key for need in task.needs)
        assert all(plain in found[part] for part in ("levels", "samplers", "exploration"))

    def test_samples_that_are_shown(self, chosen):
        settings = EXPERIMENT.settings("smoke", steps=4)  # fewer miss the guidance interval
        shown = chapter.shown_samples(settings, Store().get)
        assert list(shown) == ["real", "plain", "noise inflation, 1.05", "CADS, 1", "guidance interval, 2", "particle guidance, 0.01", "minority guidance, 0.1"]
        assert all(images.shape == (20, 1, 28, 28) and images.dtype == torch.uint8 for images in shown.values())
        assert len({images.numpy().tobytes() for images in shown.values()}) == len(shown)


class TestTables:
    #: Accuracy by arm and strength: five seeds of plain sampling, of two strengths of a term, and of fresh real images.
    VALUES = {
        ("plain", 0.0): [0.80, 0.82, 0.81, 0.79, 0.83],
        ("CADS", 0.5): [0.81, 0.84, 0.82, 0.81, 0.84],
        ("CADS", 1.0): [0.79, 0.83, 0.80, 0.80, 0.82],
        ("fresh real", 0.0): [0.85, 0.86, 0.87, 0.85, 0.86],
    }

    @pytest.fixture
    def explored(self):
        return pd.DataFrame(
            [
                {"part": "floor" if arm == "fresh real" else "exploration", "arm": arm, "x": x, "seed": seed, "metric": "accuracy", "value": value}
                for (arm, x), values in self.VALUES.items()
                for seed, value in enumerate(values)
            ]
        )

    def test_gains_are_paired_and_not_adjusted(self, explored):
        table = figures.gains(explored, ("accuracy",)).set_index(["arm", "x"])
        for key in [("CADS", 0.5), ("CADS", 1.0), ("fresh real", 0.0)]:
            expected = paired_interval(np.subtract(self.VALUES[key], self.VALUES["plain", 0.0]))
            assert table.loc[key, ["estimate", "low", "high", "p_value"]].tolist() == pytest.approx(
                [100 * expected.estimate, 100 * expected.low, 100 * expected.high, expected.p_value]  # points
            )
        assert "adjusted" not in table
        text = figures.gains_table(explored, ("accuracy",)).set_index("")["against plain sampling"]
        assert text["CADS, 0.5"] == "+1.4 [+0.7, +2.1]" and text["fresh real"] == "+4.8 [+3.2, +6.4]"

    def test_the_prose_on_exploration_says_what_was_recorded(self):
        for variant in (None, "added"):
            table = figures.gains(load_recorded("real_generators", "standard", variant)).query("group == 'terms'")
            table = table.set_index("metric")
            if variant is None:  # "no term wins back", "for the worse"
                table = table.loc[["outer_edge_recall", "accuracy", "accuracy_with_real"]]
                assert (table["low"] < 0).all() and (table["high"] < 0).any()
            else:  # "covers more without losing precision"; classifiers: "could not be shown"
                assert table.loc["outer_edge_recall", "low"] > 0 and table.loc["precision", "low"] > 0
                assert (table.loc[["accuracy", "accuracy_with_real"], "low"] < 0).all()

    def test_what_samples_add_to_real_images(self):
        recorded = load_recorded("real_generators", "standard")
        said = figures.beside_real(recorded)
        rows = recorded[recorded["metric"] == "accuracy_with_real"].pivot_table(index="seed", columns="arm", values="value")
        for arm in ("plain", "fresh real"):
            own = paired_interval(100 * (rows[arm] - rows["real alone"]))
            assert f"{own.estimate:+.2f} [{own.low:+.2f}, {own.high:+.2f}]" in said and own.low > 0
        between = paired_interval(rows["plain"] - rows["fresh real"])
        assert between.low < 0 < between.high and "800 real images and 250 steps" in said and "12.5 times" in said

    def test_of_a_run(self, frame):
        table = figures.levels_table(frame)
        assert table["channels"].tolist() == ["saved", "(16, 32)"] and table["rank"].tolist() == [1, 2]
        assert table["after images"].tolist() == [1_716_608, 32]
        assert table["minus the best's"].iloc[0] == 0 < table["minus the best's"].iloc[1]
        recall = frame[(frame["metric"] == "recall") & (frame["part"] == "levels") & (frame["level"] == "noise")]
        assert table["recall"].tolist() == recall.sort_values("x")["value"].tolist()
        without = figures.levels_table(frame[(frame["arm"] != "saved") | (frame["metric"] != "recall")])
        assert "nan" not in table_html(without).data.lower()
        summary = figures.levels_summary(frame).set_index("")
        own = table["accuracy, trained on samples (%)"]
        assert 1 < own.min() < own.max() < 100  # per cent
        assert summary.loc["accuracy, trained on samples (%)", ["best", "lowest"]].tolist() == own.tolist()
        correlation = summary["rank correlation with the loss"]["precision"]
        assert correlation == np.sign(table["precision"].diff().iloc[1]) or np.isnan(correlation)
        samplers = figures.samplers_table(frame).set_index("")
        fresh_real = frame[(frame["arm"] == "fresh real") & (frame["metric"] == "precision")]["value"].mean()
        assert samplers.loc["fresh real images", "precision"] == fresh_real and "Heun, 2 steps" in samplers.index

    def test_levels_have_their_own_images(self):
        recorded = load_recorded("real_generators", "standard")
        rows = recorded[(recorded["part"] == "levels") & recorded["training_images"].notna()]
        own = {(row.x, row.arm): row.training_images for row in rows.itertuples()} | {(1, "saved"): 1_716_608}
        table = figures.levels_table(recorded)
        assert dict(zip(zip(table["rank"], table["channels"]), table["after images"])) == own and len(own) == 10
        assert "has seen 1.72 million" in (said := figures.levels_trained(recorded))
        assert "the other 9 levels 0.03 to 0.13 million" in said and "10 Heun steps" in said

    def test_figures_show_the_run(self, frame):
        for draw, shown in ((figures.quality_levels, 5), (figures.samplers, 5), (figures.exploration, 4)):
            assert len(draw(frame).axes) == shown
        labels = [tick.get_text() for tick in figures.exploration(frame, frame).axes[0].get_yticklabels()]
        assert labels == ["CADS, 1", "autoguidance, 2", "fresh real"]
        alone = frame[frame["part"].isin(["floor", "samplers"])].drop(columns=["sigma", "training_images"])
        figures.samplers(alone)
        with pytest.raises(ValueError, match="neither run has the part 'levels'"):
            figures.quality_levels(alone)
