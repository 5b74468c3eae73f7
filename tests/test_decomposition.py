"""The parts of a fall: by hand, and that they add up on whatever was recorded."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from synaug.experiments.exact_score import EXACT
from synaug.figures.decomposition import (GRID, METRIC, PROCESS, SCORE, TOGETHER, TOTAL, answer, of_images,
                                          of_mixtures, of_samplers, parts_figure, parts_table, published_fall)
from synaug.metrics import FRESH_REAL
from synaug.run.results import load_recorded

#: Recall of three worlds: (arm, t_re, x) -> against the sources, against fresh draws.
RECALLS = {(EXACT, 0, 0.0): ([1, 1, 1], [0.95, 0.94, 0.96]),
           (FRESH_REAL, 0, 0.0): ([0.95, 0.96, 0.94], [0.96, 0.94, 0.95]),
           (EXACT, 100, 100.0): ([0.96, 0.95, 0.94], [0.95, 0.95, 0.95]),
           ("Euler", 100, 18.0): ([0.88, 0.86, 0.84], [0.87, 0.85, 0.83]),
           ("Euler", 50, 18.0): ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
           ("scaled score", 100, 1.05): ([0.7, 0.8, 0.6], [0.69, 0.79, 0.62])}


@pytest.fixture
def mixtures():
    rows = [{"arm": arm, "t_re": t, "x": x, "reference": reference, "seed": seed, "metric": metric,
             "value": value if metric == "recall" else 0.5}
            for (arm, t, x), both in RECALLS.items() for reference, values in zip(("source", "fresh"), both)
            for (seed, value), metric in itertools.product(enumerate(values), ("recall", "precision"))]
    return pd.DataFrame(rows)


@pytest.fixture
def images():
    """Recall 1 -> 0.8 against the sources, 0.9 -> 0.78 against fresh images, limits +-0.01; accuracy of five seeds."""
    recall = {("source", 0): 1.0, ("source", 100): 0.8, ("fresh", 0): 0.9, ("fresh", 100): 0.78}
    rows = [{"metric": "recall", "reference": reference, "x": float(x), "value": value, "low": value - 0.01,
             "high": value + 0.01, "encoder": "efficientnet_lite0", "seed": 0}
            for (reference, x), value in recall.items()]
    rows += [{"metric": "test_accuracy", "x": float(x), "seed": seed, "value": 0.9 - x / 5000 - seed / 100 * (x > 0)}
             for x in (0, 100) for seed in range(5)]
    return pd.DataFrame(rows).assign(sources="train")


def of(table, what, part):
    return table.set_index(["what", "part"]).loc[(what, part)]


def test_mixtures_by_hand(mixtures):
    table = of_mixtures(mixtures)
    whole = of(table, "18 Euler steps", TOTAL)
    assert whole["value"] == pytest.approx(0.14)
    assert (whole["low"], whole["high"]) == pytest.approx(stats.t.interval(0.95, 2, 0.14, 0.02 / np.sqrt(3)))
    assert of(table, "18 Euler steps", PROCESS)["value"] == pytest.approx(0)
    assert of(table, "18 Euler steps", GRID)["value"] == pytest.approx(0.1)
    assert of(table, "18 Euler steps", METRIC)["value"] == pytest.approx(0.14 - 0.1)
    assert of(table, "score × 1.05", SCORE)["value"] == pytest.approx(0.25)
    assert set(table.loc[table["what"] == "exact score, fine grid", "part"]) == {TOTAL, METRIC, PROCESS}


def test_images_by_hand(images):
    table = of_images(images)
    found = {part: tuple(of(table, "recall", part)[["value", "low", "high"]]) for part in (TOTAL, METRIC, TOGETHER)}
    assert found[TOTAL] == pytest.approx((0.2, 0.18, 0.22)) and found[TOGETHER] == pytest.approx((0.12, 0.1, 0.14))
    assert found[METRIC] == pytest.approx((0.08, 0.04, 0.12))
    accuracy = table[table["what"] == "test accuracy"].set_index("part")
    assert list(accuracy.index) == [TOTAL, TOGETHER] and (accuracy["value"].to_numpy() == pytest.approx(0.04))
    half = 2.776445 * np.std([0.02, 0.03, 0.04, 0.05, 0.06], ddof=1) / np.sqrt(5)
    assert accuracy.loc[TOTAL, "high"] == pytest.approx(0.04 + half)
    assert set(table["what"]) == {"recall", "test accuracy"}  # nothing was measured in the judge's features


def test_without_limits_or_seeds_or_a_run_a_fall_is_left_out(images):
    assert of_images(None).empty and of_samplers(None).empty
    few = images[images["seed"] < 4].drop(columns=["low", "high"])
    assert of_images(few).empty


def test_samplers_by_hand():
    recalls = {("floor", FRESH_REAL, 0): 0.93, ("dials", "Heun", 40): 0.83, ("dials", "Heun", 18): 0.82,
               ("dials", "Euler", 18): 0.8, ("dials", "Euler", 80): 0.85}
    frame = pd.DataFrame([{"part": part, "arm": arm, "x": float(x), "metric": "recall", "value": value, "seed": 0,
                           "low": value - 0.02, "high": value + 0.02} for (part, arm, x), value in recalls.items()])
    table = of_samplers(frame)
    assert tuple(of(table, "recall, 18 Heun steps", SCORE)[["value", "low", "high"]]) == pytest.approx(
        (0.1, 0.06, 0.14))
    assert of(table, "recall, 18 Euler steps", GRID)["value"] == pytest.approx(0.03)
    assert of(table, "recall, 18 Euler steps", TOTAL)["value"] == pytest.approx(0.13)
    assert not table["what"].str.startswith("test accuracy").any()
    assert of_samplers(frame[frame["part"] == "floor"]).empty


@pytest.mark.parametrize("metric", ["recall", "precision", "outer_edge_recall"])
def test_recorded_parts_add_up(metric):
    tables = [of_mixtures(load_recorded("exact_score"), metric), of_images(load_recorded("mode_concentration")),
              of_samplers(load_recorded("real_generators"))]
    for table in tables:
        wide = table.pivot(index="what", columns="part", values="value")
        assert len(wide) > 3
        np.testing.assert_allclose(wide.drop(columns=TOTAL).sum(axis=1), wide[TOTAL], atol=1e-9)
        assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


def test_published_falls_are_the_papers():
    assert published_fall("recall") == pytest.approx(0.37, abs=0.001)
    assert published_fall("test accuracy") == pytest.approx(0.0573)
    assert published_fall("outer-edge recall") is None


def test_shown_with_and_without_images(mixtures, images):
    parts, falls = of_mixtures(mixtures), of_images(images)
    for figure in (parts_figure(parts, falls, parts), parts_figure(parts, of_images(images.iloc[:0])),
                   parts_figure(parts, falls[falls["what"] == "recall"])):
        figure.draw_without_rendering()
    left = parts_figure(parts, falls).axes[0]
    bars = {round(bar.get_y() + bar.get_height() / 2, 6): bar.get_x() + bar.get_width() for bar in left.patches}
    assert sorted(bars) == pytest.approx([-0.1, 0.9, 1.9])
    assert bars[0.9] == pytest.approx(0.14)  # the last part of 18 Euler steps ends at the whole fall
    table = parts_table(parts)
    assert list(table.columns) == ["", TOTAL, METRIC, PROCESS, GRID, SCORE]
    assert table.iloc[1][GRID].startswith("0.100 [") and table.iloc[1][SCORE] == ""


def test_answer_says_every_part_once(mixtures, images):
    lines = answer(of_mixtures(mixtures), of_images(images)).splitlines()
    assert [line.split("*")[1] for line in lines] == ["recall", "test accuracy", "metric", "reverse process",
                                                      "discretisation", "score error"]
    assert lines[0].endswith("*recall* falls by 0.200 [0.180, 0.220]: 40% metric and 60% not separated.")
    assert lines[1].endswith(": 100% not separated.")
    assert "(exact score, fine grid, not told from 0)" in lines[3] and lines[3].count("[") == 1
    assert lines[4].count("[") == 1 and lines[5].endswith("(score × 1.05).") and "0.250" in lines[5]
    assert len(answer(of_mixtures(mixtures), of_images(images.iloc[:0])).splitlines()) == 4


def test_answer_says_what_samplers_lose():
    parts = {"recall": {TOTAL: 0.2, METRIC: 0.08, TOGETHER: 0.12}, "recall, 18 Euler steps": {
        TOTAL: 0.1, GRID: 0.02, SCORE: 0.08}}
    table = pd.DataFrame([{"what": what, "part": part, "value": value, "low": value - 0.03, "high": value + 0.03}
                          for what, values in parts.items() for part, value in values.items()])
    said = answer(table.iloc[:0], table)
    assert said.endswith("with 18 Euler steps and from fresh real images it falls by 0.100 [0.070, 0.130]: "
                         "20% discretisation (not told from 0) and 80% score error.")
    said = answer(table.iloc[:0], table.assign(low=-0.01))  # of a fall that may be none there are no shares
    assert "%" not in said and said.endswith("it falls by 0.100 [-0.010, 0.130], not told from 0.")
