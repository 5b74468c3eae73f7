"""Figures and tables of chapter 3 on the theory, from frames of `theorems`; ``recorded`` may be None."""

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from synaug.chapters import claims_page
from synaug.chapters.reading import said
from synaug.chapters.two_layer_cnn.theorems import REFERENCE_K, STAGES, against_reference
from synaug.plots import INK, PALETTE, Panel, finish, forest, lines, panels
from synaug.statistics.contrasts import differences, paired, select
from synaug.theory.two_layer_cnn import Arm, PatchDistribution, training_sets

ARMS = {"upsampled": "upsampled", "generated": "generated"}
STAGE_NAMES = dict(zip(STAGES, ("early", "at the end", "at each arm's best step")))
K_LABEL = "k, times a slow example occurs"
ERROR = "test error in the base regime, at the end (%)"
ALIGNMENT = "alignment with noise in the toy, over the original set's"
NEW_AGAINST_COPIES = "test error of new versions minus that of copies (points)"
AT_REFERENCE = f"{NEW_AGAINST_COPIES}, k = {REFERENCE_K}"

#: What is asked of each theorem: the question, its premise in the toy and in ResNet-8, and the claims that say what
#: holds as in the proofs, in the toy and in ResNet-8.
OVERVIEW = {
    "4.1": ("Does SAM suppress noise?", "orthogonal noise: fails", "not asked", ("sam-suppresses-noise", "sam-suppresses-noise-toy", None)),
    "4.2": (
        "Is the gradient with new versions less aligned with noise?",
        "orthogonal noise: fails",
        "new noise: fails",
        ("generation-aligns-less", "generation-aligns-less-toy", "network-aligns-less"),
    ),
    "4.3, copies": ("Do copies add variance?", "holds by construction", "holds by construction", ("copies-add-variance", None, "network-copies-add-variance")),
    "4.3, new versions": (
        "Do new versions add none?",
        "holds by construction",
        "new noise: fails",
        ("copies-add-variance", None, "network-generation-adds-none"),
    ),
    "4.4": (
        "Do new versions converge faster?",
        "holds by construction",
        "new noise: fails",
        ("generation-converges-faster", None, "network-generation-converges-faster"),
    ),
}


def overview(verdicts):
    """A row per theorem: question, whether its premise holds in the toy and in ResNet-8, and the verdicts there.
    verdicts: of both experiments, as `worded`."""
    known = verdicts.set_index("id")["verdict"]
    rows = []
    for theorem, (question, toy, network, claims) in OVERVIEW.items():
        proofs, of_toy, of_network = (unasked if claim is None else known[claim] for claim, unasked in zip(claims, ("", "as in the proofs", "not asked")))
        rows.append(
            {
                "theorem": theorem,
                "question": question,
                "outcome where the premise holds": proofs,
                "premise in the toy": toy,
                "outcome in the toy": of_toy,
                "premise in ResNet-8": network,
                "outcome in ResNet-8": of_network,
            }
        )
    return pd.DataFrame(rows)


def numbers(frame):
    """What the theory's problem says in numbers, {name: text}, at the largest k; of the recorded run or this build."""
    k = max(frame.attrs["provenance"]["parameters"]["ks"])
    rows = select(frame, part="regimes", regime="base", stage="final", metric="test_error")
    errors = 100 * select(rows, x=[1, k]).groupby("arm")["value"].mean()
    gains = {}
    for at in (REFERENCE_K, k):
        (gain,) = paired(select(rows, x=at), {"arm": "upsampled"}, correct=None).itertuples()
        gains[at] = said(gain, digits=1, scale=100)
    aligned = select(frame, part="align", distribution="toy", metric="noise_align", x=k).groupby("arm")["value"].mean()
    return {
        "k": f"{k:g}",
        **{f"{ERROR}, {arm}": f"{errors[arm]:.1f}" for arm in ("original", *ARMS)},
        NEW_AGAINST_COPIES: gains[k],
        AT_REFERENCE: gains[REFERENCE_K],
        **{f"{ALIGNMENT}, {arm}": f"{aligned[arm]:.2f}" for arm in ARMS},
    }


def takeaways(found, network):
    """The chapter in three lines of Markdown. found: `numbers` of the recorded run; network: those of the real
    network's, `mechanism_figures.numbers`."""
    loss, error = (f"{name}, {{}}, {{}} minus original" for name in ("loss of fast images", "test error"))
    return "\n".join(
        (
            f"1. **In the theory's own problem, new versions beat copies if there are many.** New versions are ideal there: "
            f"the same features, fresh noise. Slow examples are shown {found['k']} times, the most that was tried. In "
            "the *base regime* slow examples are frequent, and their feature can be learned in time. Test "
            f"error ends there at {found[f'{ERROR}, original']} % with the original set, at {found[f'{ERROR}, upsampled']} % with copies "
            f"and at {found[f'{ERROR}, generated']} % with new versions. New versions minus copies: "
            f"{found[NEW_AGAINST_COPIES]} points; at k = {REFERENCE_K}, {found[AT_REFERENCE]}.",
            "2. **The theory's reason is new noise, and a real generator repeats the old.** The proofs ask for "
            "orthogonal noise patches, which the *toy* does not have. "
            f"Its first gradient follows the noise of slow examples {found[f'{ALIGNMENT}, generated']} times as much with "
            f"new versions as with the original set, and {found[f'{ALIGNMENT}, upsampled']} times with copies (mean over patches, k "
            f"= {found['k']}). As a sum over patches the order is reversed, and which of the two the paper means is not "
            "known. On Fashion-MNIST, take the part of an image's gradient that its class does not share. It "
            f"correlates with that of its generated version at {network['correlation']}; new noise would have 0.",
            f'3. **"Slow examples are learned faster" holds early, at the cost of all others, and lowers no test error here.** After 10 % of the training, '
            f"the loss of slow images is {network['loss of slow images, early, generated']} with generated versions, "
            f"{network['loss of slow images, early, upsampled']} with copies and "
            f"{network['loss of slow images, early, original']} with the original set. But generated versions raise the "
            f"loss of fast images by {network[loss.format('early', 'generated')]} and test error by "
            f"{network[error.format('early', 'generated')]} points. Copies raise them by "
            f"{network[loss.format('early', 'upsampled')]} and {network[error.format('early', 'upsampled')]}. "
            f"At the end test error differs from the original set's, "
            f"{network['test error, original']} %, by {network[error.format('end', 'generated')]} points with generated "
            f"versions and by {network[error.format('end', 'upsampled')]} with copies. The loss of slow images is "
            f"{network['loss of slow images, end, original']} with the original set, "
            f"{network['loss of slow images, end, generated']} with generated versions and "
            f"{network['loss of slow images, end, upsampled']} with copies.",
        )
    )


def worded(verdicts):
    """The table of verdicts as the page of all claims words them."""
    return verdicts.assign(verdict=list(map(claims_page.worded, verdicts["source"], verdicts["verdict"])))


def picture():
    """Examples of the problem in reading B, drawn from it: a row each, a box per patch, bars along v_e, v_d and other
    directions."""
    data = PatchDistribution(dim=12, alpha=0.5, beta_d=0.6, noise_std=0.2, reading="B").sample(20, [3])
    pool, source = (sets := training_sets(data, [Arm("generated", 2)])).pool, sets.source[0].numpy()
    positive, fast = (data.labels[0] > 0).numpy(), data.has_fast[0].numpy()
    slow = int(np.flatnonzero(positive & ~fast)[0])
    new = int(np.flatnonzero((sets.part.numpy() > 0) & (source == slow))[0])
    shown = {"fast example": int(np.flatnonzero(positive & fast)[0]), "slow example": slow, "its copy\n(upsampled)": slow, "its new version\n(generated)": new}
    basis = np.linalg.qr(np.c_[data.v_e[0], data.v_d[0], np.eye(12)[:, :10]])[0]
    basis *= np.sign(basis.T @ (data.v_e[0] + data.v_d[0]).numpy()) * (np.arange(12) < 2) + (np.arange(12) >= 2)
    colours = PALETTE[2], PALETTE[5], PALETTE[8]  # of the roles FAST, SLOW and NOISE
    figure, (ax,) = panels(1, 3.6)
    for row, index in enumerate(shown.values()):
        patches = pool.patches[0, index].numpy() @ basis
        for patch, (values, role) in enumerate(zip(patches, pool.roles[0, index].tolist())):
            at = 15 * patch + np.arange(12)
            ax.bar(at, values, bottom=-1.7 * row, color=colours[role], width=0.8)
            ax.plot(at[[0, -1]], [-1.7 * row] * 2, color=INK, linewidth=0.8)
    ax.set_yticks([-1.7 * row for row in range(len(shown))], list(shown))
    ax.set_xticks([15 * patch + 5.5 for patch in range(3)], [f"patch {patch + 1}" for patch in range(3)])
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    names = ("fast feature", "slow feature", "noise")
    return finish(figure, {name: Patch(color=colour) for name, colour in zip(names, colours)})


def feature_learning(live, recorded=None):
    """Alignment with both features and with the noise of slow examples against steps, under GD and SAM."""
    shown = {
        "feature_fast": r"fast feature, max $\langle w, v_e \rangle$",
        "feature_slow": r"slow feature, max $\langle w, v_d \rangle$",
        "noise_slow": "noise of slow examples,\nmean max $y \\langle w, \\xi \\rangle$",
    }
    return lines(live, recorded, [Panel(metric, label, {"part": "features"}, yscale="log") for metric, label in shown.items()], hue="arm", xlabel="step")


def feature_order(live, recorded=None):
    """Share of seeds in which the fast feature is learned first, against the ratio of the features' speeds."""
    share = Panel(
        "fast_first",
        "share of seeds that learn\nthe fast feature first",
        {"part": "order"},
        upright=1.0,
        change=lambda rows: rows.groupby("x", as_index=False)["value"].mean(),
        limits=(-0.05, 1.05),
    )
    return lines(live, recorded, [share], xlabel=r"speed ratio $\alpha \beta_e^3 / (q \beta_d^3)$", xscale="log", joined=False)


def sam_suppression(live, recorded=None):
    """Theorem 4.1: share of positively aligned noise patches that SAM suppresses, against n."""
    share = Panel("suppressed_share", "share of positively aligned noise\npatches that SAM suppresses", {"part": "sam"}, line=0.5, limits=(-0.05, 1.05))
    return lines(live, recorded, [share], hue="arm", xlabel="training examples N", xscale="log")


def sam_sizes(frame):
    """In words, how large the effects of SAM are: on the alignment with noise, and on how evenly features are learned."""
    ratios = select(frame, part="sam", metric="sam_ratio").groupby(["arm", "x"])["value"].mean()
    rows = select(frame, metric="slow_at_fast", x=0.5)
    more = paired(rows, {"arm": "GD"}, correct=None)["estimate"] / select(rows, arm="GD")["value"].mean()
    return (
        f"How small the effects of SAM are: its alignment with noise is within {100 * (ratios - 1).abs().max():.1f} % "
        f"of gradient descent's at all numbers of examples (median over patches). At half of the fast feature it "
        f"has {100 * more.min():.1f} to {100 * more.max():.1f} % more of the slow one."
    )


def noise_alignment(live, recorded=None, problem="orthogonal"):
    """Theorem 4.2: NoiseAlign against k as a mean and as a sum, and the tolerance with its formula."""
    where = {"part": "align", "distribution": problem}
    panels = [
        Panel("noise_align", "NoiseAlign, mean over patches,\nover that of the original set", where, line=1.0),
        Panel("noise_align_sum", "NoiseAlign, sum over distinct\npatches, over the original's", where, line=1.0),
        Panel("tolerance", "strength of synthetic noise, $s_\\gamma / s$,\nwhere both arms are equal", where, formula="tolerance_formula"),
    ]
    return lines(live, recorded, panels, hue="arm", names=ARMS, xlabel=K_LABEL)


def batch_variance(live, recorded=None):
    """Theorem 4.3: variance of mini-batch gradients against k, and what copies add to it against the batch size."""
    panels = [
        Panel(
            "variance",
            "variance of a batch's gradient,\nover one example's / B",
            {"part": "variance", "swept": "k"},
            formula="variance_formula",
            xlabel=K_LABEL,
        ),
        Panel(
            "variance_extra",
            "variance beyond one example's / B,\nover one example's",
            {"part": "variance", "swept": "batch_size"},
            formula="variance_extra_formula",
            xlabel="batch size B",
        ),
    ]
    return lines(live, recorded, panels, hue="arm", names=ARMS)


def changes(frame):
    """(the largest k, the columns of `paired`: test error of either arm minus the original set's at that k, at the last
    step, by regime: the base, that with the other reading, and the map)."""
    k = max(frame.attrs["provenance"]["parameters"]["ks"])
    names = ["base", *sorted(name for name in frame["regime"].dropna().unique() if name.startswith(("reading", "β_d")))]
    rows = select(frame, part="regimes", stage="final", regime=names, x=[1, k])
    return k, paired(rows, {"arm": "original"}, ("regime", "arm"), "test_error", ("regime", "seed"), correct=None)


def regime_map(live, recorded=None):
    """What either arm changes against the original set at the largest k, at the last step, in the base regime, with
    the other reading and over the map; of the recorded run if there is one."""
    k, table = changes(live if recorded is None else recorded)
    return forest(table, label="regime", hue="arm", scale=100, xlabel=f"test error at k = {k:g} minus the original set's (points; left: better)")


def stages(live, recorded=None):
    """Test error of the base regime minus the original set's, paired over seeds, against k: looked at early, at the
    end, and at each arm's best step."""

    def gained(frame):
        if frame is not None:
            rows = select(frame, part="regimes", regime="base", metric="test_error")
            return differences(rows, {"arm": "original"}, pair=("seed", "stage"))

    panels = [
        Panel("test_error", "test error minus the\noriginal set's (points)", {"stage": stage}, name, 100, line=0.0) for stage, name in STAGE_NAMES.items()
    ]
    return lines(gained(live), gained(recorded), panels, hue="arm", names=ARMS, xlabel=K_LABEL)


def degradation(live, recorded=None):
    """Test error of upsampling at the largest k minus at k = 2, in every regime, early and at each arm's best step,
    with intervals; of the recorded run if there is one."""
    table = against_reference(live if recorded is None else recorded)
    k, regimes = table["x"].max(), sorted(table["regime"].unique())
    rows = select(table, x=k, stage=["early", "best"])
    rows = rows.sort_values("stage", key=lambda stages: stages.map(STAGES.index))
    return forest(
        rows.assign(stage=rows["stage"].map(STAGE_NAMES), arm="upsampled"),
        label="regime",
        hue="arm",
        names=dict(zip(regimes, regimes)),
        panel="stage",
        scale=100,
        xlabel=f"error at k = {k:g} minus k = 2 (points;\nright: upsampling degrades)",
    )


def recovery(live, recorded=None):
    """Adjusted Rand index and separability of clusters of outputs against alpha, beta ratio and noise."""
    shown = {"alpha": r"share of fast examples $\alpha$", "beta_ratio": r"strength ratio $\beta_d / \beta_e$", "noise_std": "noise per coordinate"}
    names = {"adjusted_rand_index": "adjusted Rand index", "separability": "separability"}
    noises = select(live if recorded is None else recorded, part="recovery", swept="noise_std")["x"].unique()
    panels = [
        Panel(
            list(names),
            "agreement with the truth",
            {"part": "recovery", "swept": swept},
            limits=(-0.1, 1.05),
            xlabel=label,
            **({"xscale": "log", "xticks": noises} if swept == "noise_std" else {}),
        )
        for swept, label in shown.items()
    ]
    return lines(live, recorded, panels, hue="metric", names=names)


def searched(frame):
    """`against_reference` in words: how many comparisons there are, and each that is resolved."""
    found = against_reference(frame)
    resolved = found[found["found"] != "not resolved"]
    text = [
        f" Upsampling is {row.found} at k = {row.x:g}, {STAGE_NAMES[row.stage]}, with {row.regime}: {said(row, scale=100)} points."
        for row in resolved.itertuples()
    ]
    return f"Of {len(found)} comparisons with k = {REFERENCE_K}, {len(resolved)} can be told from 0 after Holm's correction over all of them." + "".join(text)
