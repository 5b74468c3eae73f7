"""What a page shows of a run of `synaug.experiments.mode_concentration` beside its frame: words, images, points."""

import numpy as np
import pandas as pd
import torch

from synaug.statistics.claims import load_claims, published_series
from synaug.run.results import describe_runs, experiment_of, recordings
from synaug.statistics import paired_interval

#: Classes of which images and points are shown: the first.
SHOWN_CLASSES = 10


def describe(live, recorded=None):
    """What the runs behind a page are, as a Markdown list."""
    def said(number):
        return "all" if number is None else f"{number:,}"

    def words(frame, p):
        return (f"{frame['dataset'].iloc[0]}; {said(p['n_images'])} training and {said(p['n_test'])} test images "
                f"reconstructed at {len(p['reverse_steps'])} levels (stride {p['stride']} on the grid of {p['steps']}), "
                f"{int(frame['n_candidate'].max()):,} of the training images compared (k = {p['k']}); {p['seeds']} "
                f"classifiers a level ({p['classifier']}, {p['classifier_steps']:,} steps), scored on "
                f"{said(p['n_evaluate'])} test images")

    return describe_runs(live, recorded, words)


def recorded_runs(live):
    """All recorded runs of the experiment, named by their data, classifier and profile: `figures.falls` draws them."""
    named = {}
    for profile, frame in recordings(experiment_of(live)).items():
        p = frame.attrs["provenance"]["parameters"]
        named[f"{frame['dataset'].iloc[0]}, {p['classifier']} ({p['recipe']}), recorded at {profile}"] = frame
    return named


def falls_table(runs):
    """Accuracies at both ends of `recorded_runs` and the change between them, paired by seed; precision and recall at
    the far end, in the first encoder's features and with the sources as reference, where both start at 1; and the
    paper's."""
    rows, kept = [], ("precision", "recall")
    for name, frame in runs.items():
        by_level = frame[frame["metric"] == "test_accuracy"].pivot(index="seed", columns="x", values="value") * 100
        real, synthetic = by_level[by_level.columns.min()], by_level[by_level.columns.max()]
        said = f"{(synthetic - real).mean():+.2f}"
        if len(by_level) > 1:  # one seed has no interval
            change = paired_interval(synthetic - real)
            said += f" [{change.low:+.2f}, {change.high:+.2f}]"
        encoder = frame.attrs["provenance"]["parameters"]["encoders"][0]
        far = frame[(frame["reference"] == "source") & (frame["encoder"] == encoder) & (frame["x"] == frame["x"].max())]
        rows.append([name, len(by_level), f"{real.mean():.2f}", f"{synthetic.mean():.2f}", said,
                     *(f"{far.loc[far['metric'] == metric, 'value'].mean():.2f}" for metric in kept)])
    accuracy, *others = (published_series(load_claims()[claim]).set_index("x")["value"]
                         for claim in ("accuracy-falls", "precision-falls", "recall-falls-more"))
    first, last = 100 * accuracy.iloc[0], 100 * accuracy.iloc[-1]
    rows.append(["published (CIFAR-10, EDM, ResNet-18)", "", f"{first:.2f}", f"{last:.2f}", f"{last - first:+.2f}",
                 *(f"{series.iloc[-1]:.2f}" for series in others)])
    return pd.DataFrame(rows, columns=["run", "seeds", "trained on real images (%)", "on synthetic ones (%)",
                                       "change in points, 95 % interval", *(f"{metric} of these" for metric in kept)])


def plane_points(sweep, levels, per_class=50):
    """Points to draw: columns level, label, class_name, pc1, pc2; the first ``per_class`` images of each class, of the
    first `SHOWN_CLASSES`."""
    tables = []
    for level in levels:
        pool = sweep.pool(level)
        shown = pool.subset(np.arange(min(len(pool), per_class * pool.num_classes)))
        shown = shown.subset((shown.labels < SHOWN_CLASSES).nonzero().flatten())
        points = sweep.in_judge_plane(shown.floats())
        tables.append(pd.DataFrame({"level": level, "label": shown.labels.numpy(), "pc1": points[:, 0],
                                    "pc2": points[:, 1]}))
    table = pd.concat(tables, ignore_index=True)
    return table.assign(class_name=[sweep.fresh.class_names[i] for i in table["label"]])


def shown_images(sweep, levels, per_class=3):
    """uint8 ``[L, n, C, H, W]``: reconstructions of the first ``per_class`` sources of each of the first
    `SHOWN_CLASSES` at each level, in columns of classes."""
    sources = sweep.sources["train"]
    shown = range(min(sources.num_classes, SHOWN_CLASSES))
    by_class = [(sources.labels == c).nonzero().flatten()[:per_class] for c in shown]
    order = torch.stack(by_class, dim=1).flatten()
    return torch.stack([sweep.pool(level).images[order] for level in levels])
