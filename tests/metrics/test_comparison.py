import numpy as np
import pytest
import torch

from synaug.metrics import FRESH_REAL, centroid_distance_ratio, compare, compare_with_floor, covariance_logdet_ratio, frechet_distance, prdc
from synaug.metrics.neighbours import neighbourhoods

LABELS = torch.arange(200) % 2
SETTINGS = dict(components=3, n_bootstrap=300)
CONDITIONAL = ["precision", "recall", "density", "coverage", "outer_edge_recall"]
MOMENTS = ["frechet_distance", "centroid_distance_ratio", "covariance_logdet_ratio"]


def draw(seed: int, scale: float = 1.0, n: int = 200, dim: int = 4) -> torch.Tensor:
    noise = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))
    return scale * noise + 4 * (torch.arange(n) % 2)[:, None]


def by_metric(frame):
    return frame.set_index("metric")


def test_values_are_those_of_the_metrics_and_lie_in_their_intervals():
    real, fake = draw(0), draw(1, 0.7)
    frame = by_metric(compare(real, fake, LABELS, LABELS, **SETTINGS))
    expected = prdc(real, fake) | {
        "outer_edge_recall": neighbourhoods(real, fake).indicators()["outer_edge_recall"].mean().item(),
        "frechet_distance": frechet_distance(real, fake),
        "centroid_distance_ratio": centroid_distance_ratio(real, fake, LABELS, LABELS),
        "covariance_logdet_ratio": covariance_logdet_ratio(real, fake, LABELS, LABELS, components=3),
    }
    assert expected.pop("k") == 5
    assert frame["value"].to_dict() == pytest.approx(expected, rel=1e-6)
    assert list(frame.index) == MOMENTS + CONDITIONAL
    assert (frame["low"] <= frame["value"]).all() and (frame["value"] <= frame["high"]).all()
    assert (frame.loc[MOMENTS, "low"] < frame.loc[MOMENTS, "high"]).all()
    assert (frame.loc[CONDITIONAL, "k"] == 5).all() and frame.loc[MOMENTS, "k"].isna().all()
    assert set(frame["n_reference"]) == set(frame["n_candidate"]) == {200}


def test_the_interval_of_precision_is_binomial():
    real, fake = draw(2), draw(3, 1.5)
    row = by_metric(compare(real, fake, n_bootstrap=2000)).loc["precision"]
    half = 1.96 * np.sqrt(row["value"] * (1 - row["value"]) / 200)
    assert (row["high"] - row["low"]) / 2 == pytest.approx(half, rel=0.15)


def test_jackknife_widths_match_the_spread_over_draws():
    values, widths = {name: [] for name in MOMENTS}, {name: [] for name in MOMENTS}
    for seed in range(30):
        real, fake = draw(1000 + seed), draw(2000 + seed, 0.6)
        frame = by_metric(compare(real, fake, LABELS, LABELS, components=3, n_bootstrap=1))
        for name in MOMENTS:
            values[name].append(frame.loc[name, "value"])
            widths[name].append((frame.loc[name, "high"] - frame.loc[name, "low"]) / 2 / 2.262)  # t with 9 df
    for name in MOMENTS:
        assert np.median(widths[name]) == pytest.approx(np.std(values[name]), rel=0.4), name


def test_a_class_that_collapses_without_a_few_points_has_a_value_and_no_limits():
    """Class 0 is four points, one of which is there once: without it three points, in a plane."""
    fake = draw(1)
    rows = (LABELS == 0).nonzero()[:, 0]
    fake[rows] = fake[rows[:3]][torch.arange(100) % 3]
    fake[rows[-1]] += 1
    frame = by_metric(compare(draw(0), fake, LABELS, LABELS, **SETTINGS))
    value, low, high = frame.loc["covariance_logdet_ratio", ["value", "low", "high"]]
    assert np.isfinite(value) and np.isnan(low) and np.isnan(high)


def test_pairs_are_left_out_together():
    real = draw(4)
    near_copy = real + 0.01 * draw(5)
    order = torch.cat([torch.arange(0, 200, 2).roll(50), torch.arange(1, 200, 2).roll(31)])
    unpaired = near_copy[order.argsort()]  # same set, same labels, other order
    width = {}
    for name, fake in (("paired", near_copy), ("unpaired", unpaired)):
        row = by_metric(compare(real, fake, LABELS, LABELS, **SETTINGS)).loc["centroid_distance_ratio"]
        width[name] = row["high"] - row["low"]
    assert width["paired"] < 0.2 * width["unpaired"]


def test_seeded_and_optional_parts():
    real, fake = draw(6), draw(7, 0.8)
    first, second = (compare(real, fake, LABELS, LABELS, seed=3, **SETTINGS) for _ in range(2))
    assert first.equals(second)
    assert not first.equals(compare(real, fake, LABELS, LABELS, seed=4, **SETTINGS))
    bare = compare(real, fake, n_bootstrap=0)
    assert list(bare["metric"]) == ["frechet_distance", *CONDITIONAL]
    assert bare[["low", "high"]].isna().all(axis=None)
    assert bare["value"].notna().all()
    few = compare(real[:15], fake[:15], n_bootstrap=0, k=np.int64(3))  # too few for ten groups, which nothing needs
    assert few["value"].notna().all()
    with pytest.raises(ValueError, match="between 2 and 7, half the smaller set, got 10 .n_bootstrap=0"):
        compare(real[:15], fake[:15])


def test_floor_stands_beside_every_candidate():
    arms = {"shrunk": draw(10, 0.5), "copies": draw(8)}
    frame = compare_with_floor(draw(8), draw(9), arms, LABELS, LABELS, dict.fromkeys(arms, LABELS), **SETTINGS)
    assert list(frame["arm"].unique()) == [FRESH_REAL, "shrunk", "copies"]
    table = frame.pivot(index="metric", columns="arm", values="value")
    floor = frame.groupby("metric")["floor"].agg(["min", "max"])
    assert (floor["min"] == floor["max"]).all()
    assert floor["min"].to_dict() == table[FRESH_REAL].to_dict()
    assert table.loc["precision", "copies"] == table.loc["recall", "copies"] == 1
    assert table.loc["recall", "shrunk"] < table.loc["recall", FRESH_REAL] < 1
    assert table.loc["centroid_distance_ratio", "shrunk"] < 0.7 < table.loc["centroid_distance_ratio", FRESH_REAL]
    assert table.loc["covariance_logdet_ratio", "shrunk"] < table.loc["covariance_logdet_ratio", FRESH_REAL] - 1


def test_sizes_must_match_the_floor():
    with pytest.raises(ValueError, match="sizes must match"):
        compare_with_floor(draw(0), draw(1), {"small": draw(2, n=100)})
    with pytest.raises(ValueError, match="points per class"):
        compare_with_floor(draw(0), draw(1), {"skewed": draw(2)}, LABELS, LABELS, {"skewed": (torch.arange(200) < 30).long()})
    with pytest.raises(ValueError, match="name of the real-data baseline"):
        compare_with_floor(draw(0), draw(1), {FRESH_REAL: draw(2)})


@pytest.mark.parametrize(
    "wrong",
    [
        dict(reference_labels=LABELS),
        dict(n_bootstrap=-1),
        dict(jackknife_groups=1),
        dict(jackknife_groups=150),
        dict(quantile=0.0),
        dict(k=0),
        dict(reference_labels=LABELS, candidate_labels=LABELS, components=5),
    ],
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ValueError):
        compare(draw(0), draw(1), **wrong)
