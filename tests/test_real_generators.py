"""The ladder, the dials and the exploration terms on a real generator: what a run measures; cells are shared."""

from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from synaug.classifiers import accuracy, build_classifier, predict, train_classifier
from synaug.data import to_bytes
from synaug.diffusion.denoisers import denoising_loss
from synaug.diffusion.denoisers import generator_hash, load_denoiser
from synaug.experiments import generator_pools
from synaug.experiments.generator_ladder import denoising_losses, load, recipe_of, rungs_folder, saved, train_rungs
from synaug.experiments.real_generators import cells, layout, prepare, run
from synaug.experiments.real_generators_cells import real_sets
from synaug.experiments.real_generators_rows import loss_ranks, loss_tables
from synaug.experiments.real_generators_views import (added_run, describe, dials_in_words, gains, gains_in_words,
                                                      ladder_in_words, ladder_table, ladder_values, shown_samples,
                                                      weak_in_words, what_there_is_to_gain)
from synaug.experiments.shared import real_images, some
from synaug.diffusion.exploration import AnnealedClass
from synaug.figures import real_generators as figures
from synaug.plots import table_html
from synaug.diffusion.recipe import Recipe
from synaug.precision import fast_precision
from synaug.diffusion.reconstruction import generate
from synaug.run.results import record
from synaug.statistics import holm, paired_interval

#: A smoke run of all parts, with a rung that is trained.
WHOLE = dict(profile="smoke", parts=("ladder", "dials", "exploration"), sizes=((16, 32),), snapshots=(32,),
             strengths={"CADS": (1.0,), "autoguidance": (2.0,)})


@pytest.fixture(scope="module")
def frame():
    return run(**WHOLE)


class TestRun:
    def test_every_part_is_measured(self, frame):
        found = frame.groupby(["part", "arm", "level"])["metric"].agg(set)
        geometry = {"frechet_distance", "centroid_distance_ratio", "covariance_logdet_ratio", "precision", "recall",
                    "density", "coverage", "outer_edge_recall"}
        losses = {"denoising_loss", "loss_excess", "mean_loss", "mean_loss_excess"}
        assert found["floor", "real alone", "noise"] == {"accuracy_with_real"}
        for arm in ("plain", "CADS", "autoguidance"):
            assert found["exploration", arm, "noise"] == geometry | {"accuracy", "accuracy_with_real"}
        assert found["floor", "fresh real", "noise"] == found["exploration", "plain", "noise"]
        assert found["dials", "Heun", "noise"] == geometry | {"accuracy"}
        for arm in ("saved", "(16, 32)"):
            assert found["ladder", arm, "noise"] == geometry | {"accuracy"} | losses
            assert found["ladder", arm, "middle"] == geometry | {"accuracy"}
        assert frame["value"].notna().all()

    def test_rungs_are_ranked_by_their_loss(self, frame):
        losses = frame[frame["metric"] == "mean_loss"].set_index("arm")["value"]
        assert losses["saved"] < 0.4 < losses["(16, 32)"]  # 32 images of training leave the loss of an empty network, 1
        assert frame[frame["part"] == "ladder"].groupby("arm")["x"].unique().map(list).to_dict() == {
            "saved": [1.0], "(16, 32)": [2.0]}

    def test_a_second_run_and_its_parts_take_what_is_there(self, frame):
        assert cells(**WHOLE).missing() == []
        assert cells(profile="smoke").missing() == []
        pd.testing.assert_frame_equal(run(**WHOLE), frame)
        parts = run(profile="smoke", parts=("dials",))
        expected = frame[frame["part"].isin(["floor", "dials"])].reset_index(drop=True)
        pd.testing.assert_frame_equal(parts, expected[parts.columns])

    def test_accuracy_is_that_of_a_classifier_trained_on_both_sets(self, frame):
        settings = prepare(profile="smoke")
        sources, unseen, test = real_sets("fashion_mnist", settings["n_images"], settings["n_evaluate"])
        fresh = unseen.subset(range(150, 300))
        model = build_classifier("resnet8", (1, 28, 28), 10, 0)
        train_classifier(model, torch.cat([sources.images, fresh.images]), torch.cat([sources.labels, fresh.labels]),
                         steps=3, seed=0, batch_size=64)
        row = frame[(frame["arm"] == "fresh real") & (frame["metric"] == "accuracy_with_real")]
        assert row["value"].item() == accuracy(predict(model, test.images), test.labels)

    def test_sets_do_not_overlap(self):
        real = real_images("fashion_mnist")
        sources, unseen, test = real_sets("fashion_mnist", 150, 100)
        assert not torch.isin(unseen.source_index, real.trained.source_index).any()
        assert torch.isin(sources.source_index, real.trained.source_index).all()

    @pytest.mark.parametrize("changed, said", [
        ({"parts": ("dial",)}, "parts must be some of ladder, dials, exploration"),
        ({"strengths": {"cads": (1,)}}, "unknown exploration term 'cads'"),
        ({"strengths": {"CADS": (-1,)}}, "scale must be finite and at least 0, got -1.0"),
        ({"dials": (("rk4", 5, 0, 1),)}, "unknown solver 'rk4'"),
        ({"middle": 0}, r"middle must be a reverse step in 1\.\.99, got 0"),
        ({"n_images": 149}, "n_images must be at least 15 a class, 150"),
        ({"seeds": 400}, "60150 unseen images are needed, fashion_mnist has 50000"),
        ({"seeds": 0}, "seeds must be a whole number of at least 1, got 0"),
        ({"sizes": ()}, "the ladder, and autoguidance, need sizes and snapshots"),
        ({"sizes": ((15, 32),)}, "channels must be multiples of 16"),
        ({"snapshots": (0,)}, "snapshots must be whole numbers of images"),
        ({"loss_sigmas": (0.0,)}, "loss_sigmas must be positive"),
        ({"encoder": "vgg"}, "encoder must be one of pixels"),
        ({"classifier": "vgg"}, "unknown classifier 'vgg'"),
    ])
    def test_bad_parameters_are_refused_before_the_run(self, changed, said):
        with pytest.raises(ValueError, match=said):
            prepare(**{**WHOLE, **changed})

    @pytest.mark.parametrize("profile", ["quick", "standard", "paper"])
    def test_other_profiles_can_be_laid_out(self, profile):
        settings = prepare(profile=profile)
        names = {(about["part"], about.get("arm")) for about, _ in layout(settings)}
        assert {("exploration", term) for term in settings["strengths"]} < names
        assert ("ladder" in settings["parts"]) == any(part == "ladder" for part, _ in names)


class TestLadder:
    def test_losses_are_those_of_each_image(self):
        denoiser = load_denoiser("fashion_mnist")
        images = some(real_images("fashion_mnist").unseen, 20)
        losses = denoising_losses(denoiser, images.floats(), images.labels, (0.3, 3.0), batch_size=7)
        noise = torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        for row, sigma in zip(losses, (0.3, 3.0)):
            whole = denoising_loss(denoiser, images.floats(), images.labels, torch.full((20,), sigma), noise)
            np.testing.assert_allclose(row, whole.numpy(), rtol=1e-3)

    def test_excess_is_paired_with_the_best_at_each_level(self):
        own = np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[2.0, 5.0], [1.0, 1.5]])  # best: first, then second
        tables = loss_tables([({"arm": name}, losses) for name, losses in zip("ab", own)], (0.1, 1.0))
        excess = pd.concat([table.assign(**about) for about, table in tables])
        excess = excess[excess["metric"] == "loss_excess"].set_index(["arm", "sigma"])
        assert excess["value"].to_dict() == {("a", 0.1): 0, ("a", 1.0): 0.75, ("b", 0.1): 1.5, ("b", 1.0): 0}
        assert excess.loc[("b", 0.1), "high"] - 1.5 == pytest.approx(1.96 * np.std([1, 2], ddof=1) / 2**0.5)

    def test_ranks(self):
        losses = [({"arm": arm, "training_images": n}, np.full((2, 3), value))
                  for arm, n, value in (("a", 1, 0.3), ("a", 2, 0.2), ("b", None, 0.1))]
        assert loss_ranks(losses) == {("b", None): 1.0, ("a", 2): 2.0, ("a", 1): 3.0}

    def test_rungs_are_trained_once_where_they_are_not_there(self):
        recipe = asdict(Recipe("digits", subset_size=100, channels=(16, 32), batch_size=8))
        denoiser = load({"recipe": recipe, "snapshots": [8, 16], "images": 8})
        assert denoiser.precision == fast_precision("cpu")
        folder = rungs_folder(recipe, [8, 16])
        weights = train_rungs(recipe, [8, 16])["weights"].split()
        assert generator_hash(denoiser) == weights[0] != weights[1]
        assert generator_hash(load_denoiser(folder)) == weights[1]

    def test_recipe_is_that_of_the_saved_generator(self):
        recipe = recipe_of("fashion_mnist", channels=(16, 32), batch_size=8)
        assert recipe["dataset"] == "fashion_mnist" and recipe["subset_size"] == 10_000
        assert recipe["batch_size"] == 8 and recipe["channels"] == (16, 32)

    def test_a_generator_with_other_weights_is_refused(self):
        with pytest.raises(RuntimeError, match="has the weights .* here, not 0123"):
            load({"generator": "fashion_mnist", "weights": "0123"})


class TestPools:
    def test_are_what_the_sampler_draws(self):
        sources, best = some(real_images("fashion_mnist").trained, 10), saved("fashion_mnist")
        described = generator_pools.pool(best, 3, term="CADS", strength=0.5, seed=4)
        made = generator_pools.draw("test_pools", described, sources)
        denoiser = load(best)
        by_hand = generate(AnnealedClass(denoiser, 0.5, seed=4), sources.labels, steps=3, seed=4,
                           source_index=sources.source_index)
        assert torch.equal(made.images, to_bytes(by_hand.images)) and torch.equal(made.labels, sources.labels)
        again = generator_pools.draw("test_pools", described, sources)
        assert torch.equal(made.images, again.images)

    def test_noise_inflation_is_a_dial_of_the_sampler(self):
        described = generator_pools.pool({"generator": "any"}, 10, term="noise inflation", strength=1.05)
        assert described["churn"] == 2.0 and described["s_noise"] == 1.05  # each step raises its level by 2 / 10
        assert generator_pools.explorer("denoiser", "noise inflation", 1.05) == "denoiser"

    def test_the_plain_pool_is_shared(self):
        """The saved generator from noise: once in the ladder, once among the dials, once as the plain samples."""
        settings = prepare(profile="standard")
        pools = {part: [cell.parameters["pool"] for about, cell in layout(settings)
                        if about["part"] == part and about.get("level") == "noise" and "pool" in cell.parameters]
                 for part in ("ladder", "dials", "exploration")}
        plain = pools["exploration"][0]
        assert plain["term"] is None and plain["seed"] == 0
        assert all(plain in found for found in pools.values())


class TestViews:
    #: Accuracy by arm and strength: five seeds of plain sampling, of two strengths of a term, and of fresh real images.
    VALUES = {("plain", 0.0): [0.80, 0.82, 0.81, 0.79, 0.83], ("CADS", 0.5): [0.81, 0.84, 0.82, 0.81, 0.84],
              ("CADS", 1.0): [0.79, 0.83, 0.80, 0.80, 0.82], ("fresh real", 0.0): [0.85, 0.86, 0.87, 0.85, 0.86]}

    def explored(self, seeds=5):
        return pd.DataFrame([{"part": "floor" if arm == "fresh real" else "exploration", "arm": arm, "x": x,
                              "seed": seed, "metric": "accuracy", "value": value}
                             for (arm, x), values in self.VALUES.items() for seed, value in enumerate(values[:seeds])])

    def test_gains_are_paired_and_corrected(self):
        table = gains(self.explored(), ("accuracy",)).set_index(["arm", "x"])
        differences = {key: np.subtract(values, self.VALUES["plain", 0.0]) for key, values in self.VALUES.items()}
        for key in [("CADS", 0.5), ("CADS", 1.0), ("fresh real", 0.0)]:
            expected = paired_interval(differences[key])
            assert table.loc[key, ["value", "low", "high", "p_value"]].tolist() == pytest.approx(
                [expected.estimate, expected.low, expected.high, expected.p_value])
        terms = table[table["part"] == "terms"]
        assert terms["adjusted"].tolist() == pytest.approx(holm(terms["p_value"].tolist()).tolist())
        assert np.isnan(table.loc[("fresh real", 0.0), "adjusted"])
        said = gains_in_words(self.explored())
        assert "5 paired seeds, Holm over 2 comparisons: CADS (0.5: +0.014 [+0.007, +0.021]) raises it; none" in said

    def test_the_best_term_stands_beside_real_images(self):
        assert what_there_is_to_gain(self.explored()) == (
            "Accuracy: fresh real images in the samples' place change it by +0.048 [+0.032, +0.064]; the terms by "
            "+0.014 [+0.007, +0.021] at the best setting, CADS at 0.5.")
        without = self.explored().query("arm != 'fresh real'")
        assert what_there_is_to_gain(without) == "What there is to gain in accuracy was not measured."

    def test_dials_in_words(self):
        values = {("floor", "fresh real", 0.0): (0.9, 0.9), ("dials", "Heun", 5.0): (0.5, 0.7),
                  ("dials", "Euler", 5.0): (0.4, 0.5), ("dials", "Euler", 40.0): (0.8, 0.84)}
        frame = pd.DataFrame([{"part": part, "arm": arm, "x": x, "metric": "accuracy", "seed": seed, "value": value}
                              for (part, arm, x), both in values.items() for seed, value in enumerate(both)])
        assert dials_in_words(frame, ("accuracy",)) == (
            "- accuracy: from 0.450 (Euler, 5 steps) to 0.820 (Euler, 40 steps), over 3 settings; fresh real images "
            "0.900")
        assert dials_in_words(frame[frame["part"] == "floor"]) == ""

    def test_what_was_added_is_of_the_same_generator(self, tmp_path, monkeypatch):
        monkeypatch.setenv("SYNAUG_RESULTS", str(tmp_path))
        live = self.explored().assign(experiment="real_generators", dataset="d", profile="standard", swept="strength")
        live.attrs["provenance"] = {"generator": "a", "parameters": {"sizes": [[64, 128], [16, 32]],
                                                                     "snapshots": [9000, 1000]}}
        assert added_run(live) is None
        record(live, "real_generators", "standard", "added")
        assert len(added_run(live)) == len(live)
        assert weak_in_words(added_run(live)) == "channels 16–32, after 1,000 images"
        live.attrs["provenance"] = {"generator": "b"}
        assert added_run(live) is None

    def test_few_seeds_say_nothing(self):
        table = gains(self.explored(3), ("accuracy",)).set_index(["arm", "x"])
        assert table.loc[("CADS", 0.5), ["low", "high"]].tolist() == pytest.approx([0.01, 0.02])
        assert table["p_value"].isna().all()
        assert gains_in_words(self.explored(3)) == "Fewer than 5 seeds: nothing can be said about accuracy."

    def test_of_a_run(self, frame):
        table = ladder_values(frame)
        assert table["arm"].tolist() == ["saved", "(16, 32)"] and table["rank"].tolist() == [1, 2]
        assert table["mean_loss_excess"].iloc[0] == 0 < table["mean_loss_excess"].iloc[1]
        recall = frame[(frame["metric"] == "recall") & (frame["part"] == "ladder") & (frame["level"] == "middle")]
        assert ladder_values(frame, "middle")["recall"].tolist() == recall.sort_values("x")["value"].tolist()
        assert "150 samples a pool" in describe(frame)
        assert ladder_in_words(frame[frame["part"] != "ladder"]) == ""
        said = ladder_in_words(frame, ("accuracy",))
        first, last = table["accuracy"]
        assert said.startswith(f"- accuracy: {first:.3f} at the best rung, {last:.3f} at the worst; rank correlation")
        assert said.endswith(f"{np.sign(last - first):+.2f} over 2 rungs") or first == last

    def test_the_ladder_to_read_shows_no_nan(self, frame):
        table = ladder_table(frame[(frame["arm"] != "saved") | (frame["metric"] != "recall")])
        assert table["after images"].tolist() == ["its whole training", "32"]
        assert table["recall"].iloc[0] == "–" != table["recall"].iloc[1]
        assert "nan" not in table_html(table).data.lower()

    def test_samples_that_are_shown(self):
        shown = shown_samples(prepare(profile="smoke", steps=4))  # fewer miss the guidance interval
        assert list(shown) == ["real", "plain", "noise inflation, 1.05", "CADS, 1", "guidance interval, 2",
                               "particle guidance, 0.01", "minority guidance, 0.1"]
        assert all(images.shape == (20, 1, 28, 28) and images.dtype == torch.uint8 for images in shown.values())
        assert len({images.numpy().tobytes() for images in shown.values()}) == len(shown)
        plt.close(figures.samples(shown))

    def test_figures_show_the_run(self, frame):
        for draw, shown in ((figures.ladder, 5), (figures.dials, 5), (figures.exploration, 4)):
            figure = draw(frame)
            assert len(figure.axes) == shown
            plt.close(figure)
        labels = [tick.get_text() for tick in figures.exploration(frame, frame).axes[0].get_yticklabels()]
        assert labels == ["CADS, 1", "autoguidance, 2", "fresh real", "real alone"]
        plt.close("all")
        alone = frame[frame["part"].isin(["floor", "dials"])].drop(columns=["sigma", "training_images"])
        plt.close(figures.dials(alone))
        with pytest.raises(ValueError, match="neither run has the part 'ladder'"):
            figures.ladder(alone)
