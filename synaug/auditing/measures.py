"""What an audit measures: every number of the synthetic images beside that of real ones in their place."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from synaug.auditing.inputs import Sets, halves, hashes
from synaug.augmentation.pool_filters import near_copies
from synaug.classifiers.last_layer import fit_linear
from synaug.data import ImageDataset, to_floats
from synaug.metrics import FRESH_REAL, compare_with_floor, nearest
from synaug.metrics.comparison import least_per_class
from synaug.metrics.distances import neighbour_radii, prepare
from synaug.metrics.encoders import Encoder, encode
from synaug.metrics.inputs import as_features
from synaug.metrics.two_sample import two_sample_auc
from synaug.statistics import bootstrap_interval, mean_interval
from synaug.statistics.exchange import exchange_rate
from synaug.statistics.proportions import wilson_interval

#: Of many real images, the share that either rule for single images would call a near-copy, or off its label.
COPY_QUANTILE, LABEL_QUANTILE = 0.01, 0.02
#: Synthetic images per real one that the probe is given, as far as there are so many.
RATIOS = (0.25, 0.5, 1, 2, 4, 8)
SPLITS, BLOCKS = 4, 20  # halvings of the real images, over which the exchange rate's gains are means; parts of the held-out ones
SMALL = 16  # side in pixels of the small pictures in which copies are looked for, too
#: Weights of |w|^2 / 2 beside the probe's mean loss, on features of unit variance, among which real images choose, at most
#: `MOST` of them.
STRENGTHS, MOST = (0.01, 0.1, 1.0, 10.0), 3000
STAGES = ("features", "distances", "each class", "copies", "two-sample test", "labels", "probe")
#: Measures that dropping single images mends.
MENDED = ("near_copies", "off_label", "duplicates")
COLUMNS = ["scope", "metric", "value", "low", "high", "baseline", "baseline_low", "baseline_high", "n"]


def check_sizes(sets: Sets, k: int) -> None:
    """ValueError where there are too few images for k neighbours."""
    of_train, of_held, of_made = (d.labels.bincount(minlength=d.num_classes) for d in (sets.train, sets.held, sets.synthetic))
    matched = of_train.minimum(of_made)
    m = int(matched.sum())
    least = max(k + 1, 4)
    for n, what in ((len(sets.held), "held-out real images"), (m, "synthetic images for which there is a real one of their class")):
        if n < least:
            raise ValueError(f"{n} {what} are too few for {k} neighbours: at least {least} are needed (or a smaller k)")
    if max(of_held.max(), matched.max()) < 2:
        raise ValueError("no class has two held-out images, or two synthetic ones that real ones match: a two-sample test needs them")


def measure(
    sets: Sets, encoder: Encoder, k: int, device: str | torch.device, seed: int, cache: bool, stage: Callable[[str], None]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, str, tuple[str, ...]]:
    """(numbers, ratios, images, uncovered, exchange, notes) as fields of `synaug.auditing.Audit`, the notes those that are
    to be added. stage: is told which of STAGES begins."""
    stage("features")
    x = [
        as_features(encode(data.floats(), encoder, device=device, cache=cache), f"features of {role} images")
        for role, data in (("real", sets.train), ("held-out", sets.held), ("synthetic", sets.synthetic))
    ]
    if not (x[0].amax(0) > x[0].amin(0)).any():
        raise ValueError("the features of all real images are the same: they tell nothing apart, use another encoder")
    measures = _Measures(sets, seed)
    stage("distances")
    notes = measures.distances(k, *x)
    stage("each class")
    measures.each_class(k, *x)
    stage("copies")
    images, uncovered = measures.nearness(*x)
    stage("two-sample test")
    x = _scaled(*x)
    measures.two_sample(*x)
    stage("labels")
    strength = _best_strength(x[0], measures.labels, seed)
    images |= measures.judged(strength, *x)
    stage("probe")
    ratios, exchange = measures.probe(strength, images["near_copy"], images["nearest_real"], *x)
    return measures.numbers(), ratios, measures.to_drop(pd.DataFrame(images)), uncovered, exchange, notes


class _Measures:
    """The rows of an audit's numbers, as they are measured. labels, held_labels, made_labels: of the real, the held-out and
    the synthetic images. fresh_at, made_at: places in the first and the last, of each class as many."""

    def __init__(self, sets: Sets, seed: int):
        self.sets, self.seed, self.rng = sets, seed, np.random.default_rng(seed)
        self.labels, self.held_labels, self.made_labels = (data.labels.numpy() for data in (sets.train, sets.held, sets.synthetic))
        self.fresh_at, self.made_at = _matched(self.labels, self.made_labels, self.rng)
        self.frames: list[pd.DataFrame] = []
        self.rows: list[tuple] = []
        everything = tuple(np.ones(len(some), bool) for some in (self.labels, self.held_labels, self.made_labels))
        #: Which images of the three belong to each scope.
        self.scopes = {"all": everything} | {
            name: (self.labels == c, self.held_labels == c, self.made_labels == c) for c, name in enumerate(sets.held.class_names)
        }

    def numbers(self) -> pd.DataFrame:
        rows = [(scope, metric, *_limits(own), *_limits(base), n) for scope, metric, own, base, n in self.rows]
        return pd.concat([*self.frames, pd.DataFrame(rows, columns=COLUMNS)], ignore_index=True)

    def distances(self, k: int, train, held, made) -> tuple[str, ...]:
        """Of all images; returns what is to be noted."""
        parts, classes = (
            (held, train[self.fresh_at], made[self.made_at]),
            (self.held_labels, self.labels[self.fresh_at], {"synthetic": self.made_labels[self.made_at]}),
        )
        counts = [np.bincount(some, minlength=self.sets.held.num_classes).min() for some in (classes[0], classes[2]["synthetic"])]
        enough = min(counts) >= least_per_class() and train.shape[1] >= 10
        try:
            self.frames.append(_beside("all", *parts, *classes[: 3 * enough], k=k, seed=self.seed))
        except ValueError:  # features that hardly vary within classes have no volume; whatever else is wrong is raised again
            enough = False
            self.frames.append(_beside("all", *parts, k=k, seed=self.seed))
        return (
            ()
            if enough
            else (
                f"distances from the class centre and spreads within classes are left out: they need {least_per_class()} "
                f"held-out, real and synthetic images of each class, and 10 features that vary",
            )
        )

    def each_class(self, k: int, train, held, made) -> None:
        for c, name in enumerate(self.sets.held.class_names):
            parts = (
                held[self.held_labels == c],
                train[self.fresh_at][self.labels[self.fresh_at] == c],
                made[self.made_at][self.made_labels[self.made_at] == c],
            )
            if min(map(len, parts)) >= max(k + 1, 4):
                self.frames.append(_beside(name, *parts, k=k, seed=self.seed))

    def nearness(self, *x) -> tuple[dict, pd.DataFrame]:
        """Columns of the table of synthetic images, and the table of held-out ones: in features and in small pictures."""
        small = tuple(map(_small, (self.sets.train, self.sets.held, self.sets.synthetic)))
        images, held = self.copies(x, small)
        return images, self.uncovered(x, small, held)

    def copies(self, x, small) -> tuple[dict, dict]:
        """Columns of the tables of synthetic and of held-out images."""
        sets, (train, held, made), (small, small_held, small_made) = self.sets, x, small
        near, near_of_real, nearest_real = _near((made, torch.cat([train, held])), (small_made, torch.cat([small, small_held])))
        held_near, near_of_train, _ = _near((held, train), (small_held, small))
        self.rows.append(("all", "held_out_near", _mean(held_near, self.seed), _mean(near_of_train, self.seed), len(held)))
        real_labels = np.concatenate([self.labels, self.held_labels])
        for scope, of in self.scopes.items():
            base = _of_real(near_of_real, np.concatenate(of[:2]), real_labels, self.made_labels, self.seed)
            self.rows.append((scope, "near_copies", _mean(near[of[2]], self.seed), base, int(of[2].sum())))

        of_train, of_held, of_made = map(hashes, (sets.train, sets.held, sets.synthetic))
        copied, twice, seen = np.isin(of_made, of_train + of_held), _repeats(of_made), np.isin(of_held, of_train)
        for metric, found, base in (
            ("exact_copies_of_real", copied, _mean(_repeats(of_train + of_held), self.seed)),
            ("exact_copies_of_held_out", np.isin(of_made, of_held), _mean(np.isin(of_train, of_held), self.seed)),
            ("duplicates", twice, _mean(_repeats(of_train), self.seed)),
            ("held_out_seen", seen, (np.nan,) * 3),
        ):
            n = len(found)  # numbers, not shares: a single one is to be looked at
            own, base = (tuple(n * np.array(_limits(share))) for share in (_mean(found, self.seed), base))
            self.rows.append(("all", metric, (int(found.sum()), *own[1:]), base, n))
        # Of as many of each: the more images there are, the nearer they lie.
        repeats, of_real = (neighbour_radii(prepare(some, some)[0], 1).sqrt().cpu().numpy() for some in (made[self.made_at], train[self.fresh_at]))
        least = np.quantile(of_real, COPY_QUANTILE)
        self.rows.append(("all", "near_repeats", _of_pairs(repeats <= least), _of_pairs(of_real <= least), len(repeats)))
        names = np.array(sets.names_of("train") + sets.names_of("held"))
        return {"near_copy": near, "nearest_real": nearest_real, "nearest_real_file": names[nearest_real], "exact_copy": copied, "duplicate": twice}, {
            "seen": seen,
            "near_copy": held_near,
        }

    def uncovered(self, x, small, columns: dict) -> pd.DataFrame:
        """The table of held-out images."""
        sets, seen = self.sets, columns["seen"]
        table = pd.DataFrame(
            {"image": np.arange(len(seen)), "file": sets.names_of("held"), **columns, "label": [sets.held.class_names[c] for c in self.held_labels]}
        )
        for metric, (fresh, shown, other) in (("distance_ratio", x), ("distance_ratio_pictures", small)):
            to_made, to_real = (nearest(shown, some)[0].cpu().numpy() for some in (other[self.made_at], fresh[self.fresh_at]))
            least = 1e-6 * max(to_made.max(), to_real.max()) or 1.0
            ratio = np.log((to_made + least) / (to_real + least)).clip(-2, 2)  # of copies, which lie at 0
            table[metric] = np.exp(ratio)
            self.rows += [
                (scope, metric, _mean_log(ratio[of & ~seen]), (1.0, np.nan, np.nan), int((of & ~seen).sum())) for scope, (_, of, _) in self.scopes.items()
            ]
        table["ratio"] = (table["distance_ratio"] * table["distance_ratio_pictures"]) ** 0.5
        return table.sort_values("ratio", ascending=False, ignore_index=True)

    def two_sample(self, x, x_held, x_made) -> None:
        own, base = (
            two_sample_auc(x_held, some[at], self.seed, classes=(self.held_labels, labels[at]))
            for some, labels, at in ((x_made, self.made_labels, self.made_at), (x, self.labels, self.fresh_at))
        )
        self.rows.append(("all", "two_sample_auc", own, base, len(self.made_at)))

    def judged(self, strength: float, x, x_held, x_made) -> dict:
        """Columns of the table of synthetic images: what a judge that learned from the real ones says of them."""
        judge, names = fit_linear(x, self.labels, strength), self.sets.synthetic.class_names
        p_held, p_made = (_probability(judge, *some) for some in ((x_held, self.held_labels), (x_made, self.made_labels)))
        judged, right_held = judge.predict(x_made), judge.predict(x_held) == self.held_labels
        least = np.quantile(p_held, LABEL_QUANTILE)
        for scope, (_, of_held, of_made) in self.scopes.items():
            self.rows += [
                (scope, metric, _mean(own[of_made], self.seed), _of_real(base, of_held, self.held_labels, self.made_labels, self.seed), int(of_made.sum()))
                for metric, own, base in (("label_agreement", judged == self.made_labels, right_held), ("off_label", p_made < least, p_held < least))
            ]
        return {
            "file": self.sets.names_of("synthetic"),
            "label": [names[c] for c in self.made_labels],
            "judged": [names[c] for c in judged],
            "label_probability": p_made,
            "off_label": p_made < least,
        }

    def to_drop(self, images: pd.DataFrame) -> pd.DataFrame:
        """The table of synthetic images, with those that are to be dropped."""
        drop = images["duplicate"] | images["exact_copy"]
        rows = {metric: row for scope, metric, *row in self.rows if scope == "all"}
        for rule, metric in (("off_label", "off_label"), ("near_copy", "near_copies")):
            own, base, _ = rows[metric]
            # Where no more are named than of real images, those that are named are such as real ones, too.
            drop |= images[rule] & bool(_limits(own)[1] > base[2])
        return images.assign(drop=drop)[
            ["file", "label", "judged", "label_probability", "off_label", "near_copy", "nearest_real", "nearest_real_file", "exact_copy", "duplicate", "drop"]
        ]

    def probe(self, strength: float, near: np.ndarray, nearest_real: np.ndarray, x, x_held, x_made) -> tuple[pd.DataFrame, str]:
        """(ratios, exchange) of the audit."""
        labels, held_labels, seed, rng = self.labels, self.held_labels, self.seed, self.rng
        clean = ~(near & (nearest_real >= len(x)))  # copies of held-out images would flatter
        x_made, made_labels, near = x_made[clean], self.made_labels[clean], near[clean]
        fresh_at, made_at = self.fresh_at, self.made_at
        if not clean.all():  # what is left is again to be compared with as many real images of each class
            fresh_at, made_at = _matched(labels, made_labels, rng)
        if len(np.unique(made_labels[made_at])) < 2:
            raise ValueError("nothing can be measured: all synthetic images, or all but one class, are nearly copies of held-out images")

        def right(of, its_labels):
            """1.0 for each held-out image that a probe of these images classifies correctly."""
            return _right(of, its_labels, x_held, held_labels, strength)

        def gained(at, others, their_labels, start):
            """What others, added to the real images at these places, change for each held-out image."""
            return right(np.concatenate([x[at], others]), np.concatenate([labels[at], their_labels])).astype(float) - start

        n, nothing = len(x_held), (np.nan,) * 3
        alone = [right(some[at], some_labels[at]) for some, some_labels, at in ((x_made, made_labels, made_at), (x, labels, fresh_at))]
        self.rows.append(("all", "probe_accuracy", *(_mean(each, seed) for each in alone), n))

        # What repeats images of one half tells that half's worth: copies have none of their own.
        distinct = ~near if len(np.unique(made_labels[~near])) > 1 else np.ones(len(x_made), bool)
        worth = []  # by split and held-out image: gains of a third of the other half, of all of it, of as many synthetic images
        for split in range(SPLITS):
            first, second = (np.sort(half) for half in halves(self.sets.train, seed + split))
            more_real, more_made = _matched(labels[second], made_labels[distinct], rng)
            places, more_made = second[more_real], np.flatnonzero(distinct)[more_made]
            start = right(x[first], labels[first])
            third = rng.permutation(places)[: max(1, len(places) // 3)]
            worth.append(
                [
                    gained(first, some, its, start)
                    for some, its in ((x[third], labels[third]), (x[places], labels[places]), (x_made[more_made], made_labels[more_made]))
                ]
            )
            if not split:
                self.rows.append(("all", "probe_gain", _mean(worth[0][2], seed), _mean(worth[0][1], seed), n))
                sizes = len(third), len(places)
        parts = np.array_split(np.random.default_rng(seed).permutation(n), min(BLOCKS, n))  # so that the interval is over held-out images
        *ruler, own = np.array([np.mean(worth, 0)[:, part].mean(1) for part in parts]).T.tolist()
        try:
            rate = exchange_rate(sizes[1], own, sizes, ruler)
            exchange, limits = str(rate), (rate.estimate, rate.low, rate.high)
        except ValueError as error:
            exchange, limits = f"no rate: {error}", nothing
        self.rows.append(("all", "exchange_rate", limits, (1.0, np.nan, np.nan), n))

        start, everything = right(x, labels), np.arange(len(x))
        order, ratios, changes = rng.permutation(len(x_made)), [], []
        for count in sorted({round(ratio * len(x)) for ratio in RATIOS if 0 < round(ratio * len(x)) < len(order)} | {len(order)}):
            at = order[:count]
            changes.append(gained(everything, x_made[at], made_labels[at], start))
            gain = _mean(changes[-1], seed)
            ratios.append((count / len(x), count, gain.estimate, gain.low, gain.high))
        table = pd.DataFrame(ratios, columns=["ratio", "n_synthetic", "gain", "low", "high"])
        # The best of several flatters itself: chosen on one half of the held-out images, it is judged on the other.
        chooses, judges = np.array_split(rng.permutation(n), 2)
        chosen = np.array(changes)[:, chooses]
        best = int(chosen.mean(1).argmax())
        again = [chosen[:, at].mean(1).argmax() for at in np.random.default_rng(seed).integers(len(chooses), size=(1000, len(chooses)))]
        limits = np.quantile(table["ratio"].to_numpy()[again], [0.025, 0.975], method="nearest")
        self.rows += [
            ("all", "best_ratio", (table.loc[best, "ratio"], *limits), nothing, len(chooses)),
            ("all", "best_ratio_gain", _mean(changes[best][judges], seed), nothing, len(judges)),
            ("all", "probe_gain_all", ratios[-1][2:], nothing, n),
        ]
        return table, exchange


def _near(*shown_and_real: tuple[torch.Tensor, torch.Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which images are near-copies of real ones, in features or in small pictures, where noise is averaged out (each names half
    of the share); which real images lie as near to another one; the place of the nearest real one, by that which found it."""
    near, of_real, nearest_real = np.array(False), np.array(False), np.array(-1)
    for shown, real in shown_and_real:
        found, found_of_real = (part.cpu().numpy() for part in near_copies(shown, real, COPY_QUANTILE / 2)[1:])
        nearest_real = np.where(found | (nearest_real < 0), nearest(shown, real)[1].cpu().numpy(), nearest_real)
        near, of_real = near | found, of_real | found_of_real
    return near, of_real, nearest_real


def _of_pairs(found: np.ndarray):
    """The share that is found, where nearest neighbours are mutually so, and found in pairs: half as many count."""
    half = wilson_interval(int(found.sum() + 1) // 2, max(1, len(found) // 2))
    return float(found.mean()), half.low, half.high


def _repeats(hashed: list[int]) -> np.ndarray:
    """Whether each is the same as an earlier one."""
    again = np.ones(len(hashed), bool)
    again[np.unique(hashed, return_index=True)[1]] = False
    return again


def _scaled(train, held, made) -> list[np.ndarray]:
    """The features that probes see: of unit variance among the real images."""
    centre, scale = train.mean(0), train.std(0)
    scale[scale <= 1e-6 * train.abs().amax(0)] = torch.inf  # what does not vary says nothing
    return [((features - centre) / scale).float().cpu().numpy() for features in (train, held, made)]


def _matched(labels: np.ndarray, others: np.ndarray, rng) -> tuple[np.ndarray, np.ndarray]:
    """Random places in both, of each class as many, as many as can be."""
    pairs = []
    for c in np.unique(labels):
        own, their = (rng.permutation(np.flatnonzero(some == c)) for some in (labels, others))
        n = min(len(own), len(their))
        pairs.append((own[:n], their[:n]))
    own, their = (np.concatenate(some) for some in zip(*pairs))
    return own, their


def _small(data: ImageDataset) -> torch.Tensor:
    """Pictures of at most `SMALL` pixels a side as features."""
    _, height, width = data.image_shape
    size = min(height, SMALL), min(width, SMALL)
    return torch.cat([F.adaptive_avg_pool2d(to_floats(part), size).flatten(1) for part in data.images.split(4096)])


def _beside(scope: str, held, fresh, made, *labels, k: int, seed: int) -> pd.DataFrame:
    groups = min(10, len(held) // 2, len(made) // 2)
    frame = compare_with_floor(held, fresh, {"synthetic": made}, *labels, k=k, seed=seed, jackknife_groups=groups)
    base, own = (frame[frame["arm"] == arm].reset_index(drop=True) for arm in (FRESH_REAL, "synthetic"))
    named = {"baseline": base["value"], "baseline_low": base["low"], "baseline_high": base["high"]}
    return own.assign(scope=scope, n=len(made), **named)[COLUMNS]


def _probability(judge, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The probability that the judge gives to each label; 0 for one that it does not know."""
    known = {c: i for i, c in enumerate(judge.classes_.tolist())}
    p = judge.predict_proba(x)
    return np.array([p[i, known[c]] if c in known else 0.0 for i, c in enumerate(labels.tolist())])


def _best_strength(features: np.ndarray, labels: np.ndarray, seed: int) -> float:
    """Of `STRENGTHS` the one that classifies best, by cross-validation in two parts on at most `MOST` images."""
    order = np.random.default_rng(seed).permutation(len(labels))[:MOST]
    parts = order[::2], order[1::2]

    def score(strength):
        return sum((fit_linear(features[a], labels[a], strength).predict(features[b]) == labels[b]).sum() for a, b in (parts, parts[::-1]))

    if min(len(np.unique(labels[part])) for part in parts) < 2:
        return 1.0
    return max(STRENGTHS, key=score)


def _right(x, labels, x_held, held_labels, strength) -> np.ndarray:
    """1.0 for each held-out image that a probe of these images classifies correctly."""
    return fit_linear(x, labels, strength).predict(x_held) == held_labels


def _mean(values, seed: int):
    values = np.asarray(values)
    if len(values) < 2:
        return (float(values.mean()) if len(values) else np.nan, np.nan, np.nan)
    if values.dtype == bool:  # where all are alike, resampling would say that nothing is open
        return wilson_interval(int(values.sum()), len(values))
    return bootstrap_interval(values, seed=seed)


def _of_real(found: np.ndarray, among: np.ndarray, labels: np.ndarray, made_labels: np.ndarray, seed: int) -> tuple:
    """The share of real images that are found, with limits, its classes weighing as those of the synthetic images do."""
    own, their = (np.bincount(some, minlength=labels.max() + 1) for some in (labels, made_labels))
    weights = (their / np.maximum(own, 1) * len(labels) / len(made_labels))[labels]
    if np.ptp(weights[among]) < 1e-9:
        return _limits(_mean(found[among], seed))
    value, low, high = _limits(_mean(found[among] * weights[among], seed))
    return value, low, min(high, 1.0)


def _mean_log(logs: np.ndarray) -> tuple[float, float, float]:
    """The geometric mean of exp(logs) and its interval."""
    if len(logs) < 2:
        return (float(np.exp(logs.mean())) if len(logs) else np.nan, np.nan, np.nan)
    interval = mean_interval(logs)
    return float(np.exp(interval.estimate)), float(np.exp(interval.low)), float(np.exp(interval.high))


def _limits(interval) -> tuple:
    return interval if isinstance(interval, tuple) else (interval.estimate, interval.low, interval.high)
