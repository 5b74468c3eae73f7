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
SPLITS = 4  # of the real images into halves, over which the exchange rate is taken
SMALL = 16  # side in pixels of the small pictures in which copies are looked for, too
#: Weights of |w|^2 / 2 beside the probe's mean loss, on features of unit variance, among which real images choose, at most
#: `MOST` of them.
STRENGTHS, MOST = (0.01, 0.1, 1.0, 10.0), 3000
STAGES = ("features", "distances", "each class", "copies", "two-sample test", "labels", "probe")
COLUMNS = ["scope", "metric", "value", "low", "high", "baseline", "baseline_low", "baseline_high", "n"]


def check_sizes(sets: Sets, k: int) -> None:
    """ValueError where there are too few images for k neighbours."""
    of_train, of_held, of_made = (d.labels.bincount(minlength=d.num_classes) for d in (sets.train, sets.held, sets.synthetic))
    matched = of_train.minimum(of_made)
    m = int(matched.sum())
    least = max(k + 1, 4)
    for n, what in ((len(sets.held), "held-out real images"),
                    (m, "synthetic images for which there is a real one of their class")):
        if n < least:
            raise ValueError(f"{n} {what} are too few for {k} neighbours: at least {least} are needed (or a smaller k)")
    if max(of_held.max(), matched.max()) < 2:
        raise ValueError("no class has two held-out images, or two synthetic ones that real ones match: a two-sample test needs them")


def measure(sets: Sets, encoder: Encoder, k: int, device: str | torch.device, seed: int, cache: bool,
            stage: Callable[[str], None]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame, str, tuple[str, ...]]:
    """(numbers, ratios, images, uncovered, exchange, notes) as fields of `synaug.auditing.Audit`, the notes those that are
    to be added. stage: is told which of STAGES begins."""
    rng = np.random.default_rng(seed)
    stage("features")
    train, held, made = (as_features(encode(data.floats(), encoder, device=device, cache=cache), f"features of {role} images")
                         for role, data in (("real", sets.train), ("held-out", sets.held), ("synthetic", sets.synthetic)))
    labels, held_labels, made_labels = (data.labels.numpy() for data in (sets.train, sets.held, sets.synthetic))
    fresh_at, made_at = _matched(labels, made_labels, rng)

    stage("distances")
    counts = [np.bincount(some, minlength=len(sets.held.class_names)).min()
              for some in (held_labels, made_labels[made_at])]
    of_classes = held_labels, labels[fresh_at], {"synthetic": made_labels[made_at]}
    enough, notes = min(counts) >= least_per_class() and train.shape[1] >= 10, []
    try:
        rows = [_beside("all", held, train[fresh_at], made[made_at], *of_classes[:3 * enough], k=k, seed=seed)]
    except ValueError:  # features that hardly vary within classes have no volume; whatever else is wrong is raised again
        rows, enough = [_beside("all", held, train[fresh_at], made[made_at], k=k, seed=seed)], False
    if not enough:
        notes.append(f"distances from the class centre and spreads within classes are left out: they need {least_per_class()} "
                     f"held-out, real and synthetic images of each class, and 10 features that vary")
    stage("each class")
    for c, name in enumerate(sets.held.class_names):
        parts = (held[held_labels == c], train[fresh_at][labels[fresh_at] == c], made[made_at][made_labels[made_at] == c])
        if min(map(len, parts)) >= max(k + 1, 4):
            rows.append(_beside(name, *parts, k=k, seed=seed))

    stage("copies")
    scopes = {"all": tuple(np.ones(len(some), bool) for some in (labels, held_labels, made_labels))}
    scopes |= {name: (labels == c, held_labels == c, made_labels == c) for c, name in enumerate(sets.held.class_names)}
    more: list[tuple] = []
    # In features, and in small pictures, where noise is averaged out: each names half of the share.
    small = [_small(data) for data in (sets.held, sets.train, sets.synthetic)]
    near, near_of_real, nearest_real = np.zeros(len(made), bool), np.zeros(len(train) + len(held), bool), np.full(len(made), -1)
    for real, shown in ((torch.cat([train, held]), made),
                      (torch.cat([small[1], small[0]]), small[2])):
        found, of_real = (part.cpu().numpy() for part in near_copies(shown, real, COPY_QUANTILE / 2)[1:])
        place = nearest(shown, real)[1].cpu().numpy()
        nearest_real = np.where(found | (nearest_real < 0), place, nearest_real)
        near |= found
        near_of_real |= of_real
    real_labels = np.concatenate([labels, held_labels])
    near_real = {scope: _of_real(near_of_real, np.concatenate(of[:2]), real_labels, made_labels, seed) for scope, of in scopes.items()}
    more += [(scope, "near_copies", _mean(near[made_ones], seed), near_real[scope], int(made_ones.sum()))
             for scope, (_, _, made_ones) in scopes.items()]
    own_hash, train_hash, held_hash = hashes(sets.synthetic), set(hashes(sets.train)), set(hashes(sets.held))
    seen, twice = set(), np.zeros(len(made), bool)
    for i, one in enumerate(own_hash):
        twice[i] = one in seen
        seen.add(one)
    copied, seen_held = np.isin(own_hash, list(train_hash | held_hash)), np.isin(hashes(sets.held), list(train_hash))
    exact = {"exact_copies_of_real": copied, "exact_copies_of_held_out": np.isin(own_hash, list(held_hash)), "duplicates": twice,
             "held_out_seen": seen_held}
    more += [("all", name, (int(found.sum()), np.nan, np.nan), (np.nan,) * 3, len(found)) for name, found in exact.items()]
    # Of as many of each: the more images there are, the nearer they lie.
    repeats, real_repeats = (neighbour_radii(prepare(some, some)[0], 1).sqrt().cpu().numpy() for some in (made[made_at], train[fresh_at]))
    least = np.quantile(real_repeats, COPY_QUANTILE)
    more.append(("all", "near_repeats", _mean(repeats <= least, seed), _mean(real_repeats <= least, seed), len(repeats)))
    real_names = np.array(sets.names_of("train") + sets.names_of("held"))
    uncovered = pd.DataFrame({"image": np.arange(len(held)), "file": sets.names_of("held"), "seen": seen_held,
                              "label": [sets.held.class_names[c] for c in held_labels]})
    for metric, (shown, fresh, other) in (("distance_ratio", (held, train, made)), ("distance_ratio_pictures", tuple(small))):
        to_made, to_real = (nearest(shown, some)[0].cpu().numpy() for some in (other[made_at], fresh[fresh_at]))
        least = 1e-6 * max(to_made.max(), to_real.max()) or 1.0
        ratio = np.log((to_made + least) / (to_real + least)).clip(-2, 2)  # of copies, which lie at 0
        uncovered[metric] = np.exp(ratio)
        more += [(scope, metric, _mean_log(ratio[of & ~seen_held]), (1.0, np.nan, np.nan), int((of & ~seen_held).sum()))
                 for scope, (_, of, _) in scopes.items()]
    uncovered["ratio"] = (uncovered["distance_ratio"] * uncovered["distance_ratio_pictures"]) ** 0.5

    stage("two-sample test")
    centre, scale = train.mean(0), train.std(0)
    scale[scale <= 1e-6 * train.abs().amax(0)] = torch.inf  # what does not vary says nothing
    x, x_held, x_made = (((features - centre) / scale).float().cpu().numpy() for features in (train, held, made))
    del train, held, made, small, real, shown, other, fresh  # hundreds of megabytes, which probes take
    own, base = (two_sample_auc(x_held, other[at], seed, classes=(held_labels, its_labels[at]))
                 for other, its_labels, at in ((x_made, made_labels, made_at), (x, labels, fresh_at)))
    more.append(("all", "two_sample_auc", own, base, len(made_at)))

    stage("labels")
    strength = _best_strength(x, labels, seed)
    judge = fit_linear(x, labels, strength)
    p_held, p_made = (_probability(judge, *some) for some in ((x_held, held_labels), (x_made, made_labels)))
    judged, right_held = judge.predict(x_made), judge.predict(x_held) == held_labels
    off = p_made < np.quantile(p_held, LABEL_QUANTILE)
    off_held = p_held < np.quantile(p_held, LABEL_QUANTILE)
    for scope, (_, of_held, of_made) in scopes.items():
        more += [(scope, metric, _mean(own[of_made], seed), _of_real(base, of_held, held_labels, made_labels, seed), int(of_made.sum()))
                 for metric, own, base in (("label_agreement", judged == made_labels, right_held), ("off_label", off, off_held))]

    images = pd.DataFrame({
        "file": sets.names_of("synthetic"),
        "label": [sets.synthetic.class_names[c] for c in made_labels],
        "judged": [sets.synthetic.class_names[c] for c in judged],
        "label_probability": p_made, "off_label": off, "near_copy": near,
        "nearest_real": nearest_real, "nearest_real_file": real_names[nearest_real], "exact_copy": copied, "duplicate": twice})
    # Where no more are named than of real images, those that are named are such as real ones, too.
    images["drop"] = images["duplicate"] | images["exact_copy"]
    off_real = _of_real(off_held, scopes["all"][1], held_labels, made_labels, seed)
    for rule, share, base in (("off_label", off, off_real), ("near_copy", near, near_real["all"])):
        images["drop"] |= images[rule] & bool(_limits(_mean(share, seed))[1] > base[2])

    stage("probe")
    clean = ~(near & (nearest_real >= len(x)))  # copies of held-out images would flatter
    x_made, made_labels = x_made[clean], made_labels[clean]
    if not clean.all():  # what is left is again to be compared with as many real images of each class
        fresh_at, made_at = _matched(labels, made_labels, rng)
    if len(np.unique(made_labels[made_at])) < 2:
        raise ValueError("nothing can be measured: all synthetic images, or all but one class, are nearly copies of "
                         "held-out images")
    alone = [_right(some[at], some_labels[at], x_held, held_labels, strength)
             for some, some_labels, at in ((x_made, made_labels, made_at), (x, labels, fresh_at))]
    more.append(("all", "probe_accuracy", *(_mean(right, seed) for right in alone), len(x_held)))

    def gained(at, others, their_labels, start):
        """What others, added to the real images at these places, change for each held-out image."""
        return _right(np.concatenate([x[at], others]), np.concatenate([labels[at], their_labels]), x_held, held_labels,
                      strength).astype(float) - start

    # What repeats images of one half tells that half's worth: copies have none of their own.
    distinct = ~near[clean] if len(np.unique(made_labels[~near[clean]])) > 1 else np.ones(len(x_made), bool)
    worth: list[list[float]] = []  # by split: gains of a third of the other half, of all of it, of as many synthetic images
    for split in range(SPLITS):
        first, second = (np.sort(half) for half in halves(sets.train, seed + split))
        more_real, more_made = _matched(labels[second], made_labels[distinct], rng)
        places, more_made = second[more_real], np.flatnonzero(distinct)[more_made]
        start = _right(x[first], labels[first], x_held, held_labels, strength)
        third = rng.permutation(places)[:max(1, len(places) // 3)]
        each = [gained(first, some, its, start) for some, its in (
            (x[third], labels[third]), (x[places], labels[places]), (x_made[more_made], made_labels[more_made]))]
        worth.append([one.mean() for one in each])
        if not split:
            more.append(("all", "probe_gain", _mean(each[2], seed), _mean(each[1], seed), len(x_held)))
            sizes = len(third), len(places)
    try:
        exchange = str(exchange_rate(sizes[1], [own[2] for own in worth], sizes, np.array(worth)[:, :2].T.tolist()))
    except ValueError as error:
        exchange = f"no rate: {error}"
    right, everything = _right(x, labels, x_held, held_labels, strength), np.arange(len(x))
    order, ratios, changes = rng.permutation(len(x_made)), [], []
    for count in sorted({round(ratio * len(x)) for ratio in RATIOS if 0 < round(ratio * len(x)) < len(order)} | {len(order)}):
        at = order[:count]
        changes.append(gained(everything, x_made[at], made_labels[at], right))
        gain = _mean(changes[-1], seed)
        ratios.append((count / len(x), count, gain.estimate, gain.low, gain.high))
    ratios = pd.DataFrame(ratios, columns=["ratio", "n_synthetic", "gain", "low", "high"])
    # The best of several flatters itself: chosen on one half of the held-out images, it is judged on the other.
    chooses, judges = np.array_split(rng.permutation(len(x_held)), 2)
    best = int(np.argmax([change[chooses].mean() for change in changes]))
    more += [("all", "best_ratio", (ratios.loc[best, "ratio"], np.nan, np.nan), (np.nan,) * 3, len(chooses)),
             ("all", "best_ratio_gain", _mean(changes[best][judges], seed), (np.nan,) * 3, len(judges))]
    more.append(("all", "probe_gain_all", tuple(ratios.iloc[-1][["gain", "low", "high"]]), (np.nan,) * 3, len(x_held)))
    rows.append(pd.DataFrame([(scope, metric, *_limits(own), *_limits(base), n) for scope, metric, own, base, n in more],
                             columns=COLUMNS))
    uncovered = uncovered.sort_values("ratio", ascending=False, ignore_index=True)
    return pd.concat(rows, ignore_index=True), ratios, images, uncovered, exchange, tuple(notes)


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
        return sum((fit_linear(features[a], labels[a], strength).predict(features[b]) == labels[b]).sum()
                   for a, b in (parts, parts[::-1]))

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
