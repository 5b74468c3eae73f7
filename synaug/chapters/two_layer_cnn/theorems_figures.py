"""Figures and tables of chapter 3 on the theory, from frames of `theorems`; ``recorded`` may be None."""

from synaug.chapters.two_layer_cnn.theorems import REFERENCE_K, STAGES, against_reference
from synaug.plots import Panel, forest, lines
from synaug.run.results import describe_runs
from synaug.statistics.contrasts import select

ARMS = {"upsampled": "upsampled", "generated": "generated"}
STAGE_NAMES = dict(zip(STAGES, ("early", "at the end", "at each arm's best step")))
K_LABEL = "k, times a slow example occurs"


def feature_learning(live, recorded=None):
    """Alignment with both features and with the noise of slow examples against steps, under GD and SAM."""
    shown = {"feature_fast": "fast feature, max ⟨w, v_e⟩", "feature_slow": "slow feature, max ⟨w, v_d⟩",
             "noise_slow": "noise of slow examples,\nmean max y⟨w, ξ⟩"}  # fmt: skip
    return lines(live, recorded, [Panel(metric, label, {"part": "features"}, yscale="log")
                                  for metric, label in shown.items()], hue="arm", xlabel="step")  # fmt: skip


def feature_order(live, recorded=None):
    """Share of seeds in which the fast feature is learned first, against the ratio of the features' speeds."""
    share = Panel("fast_first", "share of seeds that learn\nthe fast feature first", {"part": "order"}, upright=1.0,
                  change=lambda rows: rows.groupby("x", as_index=False)["value"].mean(), limits=(-0.05, 1.05))
    return lines(live, recorded, [share], xlabel="speed ratio α β_e³ / (q β_d³)", xscale="log", joined=False)


def sam_suppression(live, recorded=None):
    """Theorem 4.1: share of positively aligned noise patches that SAM suppresses, and the median ratio, against n."""
    sam = {"part": "sam"}
    panels = [Panel("suppressed_share", "share of positively aligned noise\npatches that SAM suppresses", sam, line=0.5,
                    limits=(-0.05, 1.05)),
              Panel("sam_ratio", "median of SAM's alignment over GD's", sam, line=1.0)]  # fmt: skip
    return lines(live, recorded, panels, hue="arm", xlabel="training examples N", xscale="log")


def noise_alignment(live, recorded=None, problem="orthogonal"):
    """Theorem 4.2: NoiseAlign against k as a mean and as a sum, and the tolerance with its formula."""
    where = {"part": "align", "world": problem}
    panels = [Panel("noise_align", "NoiseAlign, mean over patches,\nover that of the original set", where, line=1.0),
              Panel("noise_align_sum", "NoiseAlign, sum over distinct\npatches, over the original's", where, line=1.0),
              Panel("tolerance", "strength of synthetic noise, A_γ / A,\nwhere both arms are equal", where,
                    formula="tolerance_formula")]  # fmt: skip
    return lines(live, recorded, panels, hue="arm", names=ARMS, xlabel=K_LABEL)


def batch_variance(live, recorded=None):
    """Theorem 4.3: variance of mini-batch gradients against k, and what copies add to it against the batch size."""
    panels = [Panel("variance", "variance of a batch's gradient,\nover one example's / B",
                    {"part": "variance", "swept": "k"}, formula="variance_formula", xlabel=K_LABEL),
              Panel("variance_extra", "variance beyond one example's / B,\nover one example's",
                    {"part": "variance", "swept": "batch_size"}, formula="variance_extra_formula",
                    xlabel="batch size B")]  # fmt: skip
    return lines(live, recorded, panels, hue="arm", names=ARMS)


def error_curves(live, recorded, shown):
    """Test error against k of {title: (regime, stage)}, a panel each; the original's as a line across, of the recorded
    run if there is one."""
    frame = live if recorded is None else recorded
    originals = select(frame, part="regimes", metric="test_error", arm="original")
    originals = originals.groupby(["regime", "stage"])["value"].mean()
    panels = [Panel("test_error", "test error (%)", {"part": "regimes", "regime": regime, "stage": stage}, title, 100,
                    line={"original": 100 * originals[regime, stage]})
              for title, (regime, stage) in shown.items()]  # fmt: skip
    return lines(live, recorded, panels, hue="arm", names=ARMS, xlabel=K_LABEL)


def regime_map(live, recorded=None):
    """Test error against k at the last step in every regime of the map: the recorded ones if there are, else live."""
    names = (live if recorded is None else recorded)["regime"].dropna().unique()
    names = ["base", *sorted(name for name in names if name.startswith("β_d"))]
    return error_curves(live, recorded, {name: (name, "final") for name in names})


def stages(live, recorded=None):
    """Test error against k of the base regime, looked at early, at the end, and at each arm's best step."""
    return error_curves(live, recorded, {name: ("base", stage) for stage, name in STAGE_NAMES.items()})


def degradation(live, recorded=None):
    """Test error of upsampling at the largest k minus at k = 2, in every regime and at every stage, with intervals; of
    the recorded run if there is one."""
    table = against_reference(live if recorded is None else recorded)
    k, regimes = table["x"].max(), sorted(table["regime"].unique())
    rows = select(table, x=k).sort_values("stage", key=lambda stages: stages.map(STAGES.index))
    return forest(rows.assign(stage=rows["stage"].map(STAGE_NAMES)), label="regime", names=dict(zip(regimes, regimes)),
                  panel="stage", scale=100,
                  xlabel=f"error at k = {k:g} minus k = 2 (points;\nright: upsampling degrades)")  # fmt: skip


def recovery(live, recorded=None):
    """Adjusted Rand index and separability of clusters of outputs against alpha, beta ratio and noise."""
    shown = {"alpha": "share of fast examples α", "beta_ratio": "strength ratio β_d / β_e",
             "noise_std": "noise per coordinate"}  # fmt: skip
    names = {"adjusted_rand_index": "adjusted Rand index", "separability": "separability"}
    noises = select(live if recorded is None else recorded, part="recovery", swept="noise_std")["x"].unique()
    panels = [Panel(list(names), "agreement with the truth", {"part": "recovery", "swept": swept}, limits=(-0.1, 1.05),
                    xlabel=label, **({"xscale": "log", "xticks": noises} if swept == "noise_std" else {}))
              for swept, label in shown.items()]  # fmt: skip
    return lines(live, recorded, panels, hue="metric", names=names)


def describe(live, recorded=None):
    """What the runs behind the page are, as a Markdown list."""
    return describe_runs(live, recorded, lambda frame, p: (
        f"{p['seeds']} seeds everywhere; the toy with {p['n']:,} examples and {p['steps']} steps; "
        f"{frame['regime'].nunique()} regimes at k = {', '.join(map(str, p['ks']))}, {p['regime_steps']:,} steps each, "
        f"early is step {p['early']}"))  # fmt: skip


def search_table(frame):
    """`against_reference` to read, a row per regime and stage, a column per k: points, interval, finding."""
    found = against_reference(frame)
    found["text"] = [f"{100 * row.estimate:+.2f} [{100 * row.low:+.2f}, {100 * row.high:+.2f}] {row.found}"
                     for row in found.itertuples()]  # fmt: skip
    wide = found.pivot_table(index=["regime", "stage"], columns="x", values="text", aggfunc="first", sort=False)
    return wide.rename(columns=lambda k: f"k = {k:g} minus k = {REFERENCE_K}").reset_index()
