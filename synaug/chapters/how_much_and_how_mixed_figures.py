"""What chapter 5 shows: gains against images added, exchange rates, shares, orders, widths, and what follows for one's own data."""

from collections import defaultdict
from functools import cache

import numpy as np
import pandas as pd

from synaug.chapters.reading import dataset_name, network_name, said, verdict_of
from synaug.plots import Panel, forest, lines
from synaug.statistics import paired_interval
from synaug.statistics.contrasts import differences, paired, select
from synaug.statistics.exchange import exchange_rate

GROUP = ("n_real", "width")
ARMS = {"fresh": "fresh real images", "oracle": "from noise, oracle generator", "from noise": "from noise", "reconstruction": "reconstructed"}
ORDERED = {"mixed": "mixed", "synthetic_first": "added first", "real_first": "original first", "falling": "falling share"}
RATE = "synthetic images per fresh one"
_rate = cache(exchange_rate)


def gains(frame):
    """What each training gains over the original set of its real images, network and seed: metric "gain", points."""
    return frame if frame is None else differences(frame, {"arm": "original"}, pair=(*GROUP, "seed"), metric="test_error", sign=-1).assign(metric="gain")


def main(frame):
    """The real images and the width that most arms have."""
    return {name: frame.attrs["provenance"]["parameters"][name] for name in GROUP}


def found(frame, **where):
    """Gains over the original set with limits over paired seeds: the columns of `paired`."""
    rows = pd.concat([select(frame, **where), select(frame, arm="original")]).drop_duplicates()
    return paired(rows, {"arm": "original"}, ["arm", "mixing", "share", "x", *GROUP], "test_error", (*GROUP, "seed"), sign=-1)


def rates(frame):
    """Exchange rates: a row for each source, number of images and of real ones; why there is none where there is none."""
    rows, all_ = [], gains(frame)
    keep = all_["mixing"].isin(["shuffled", "repeated"]) & (all_["width"] == main(frame)["width"])
    for n_real, group in all_[keep].groupby("n_real"):
        pairs = group.pivot(index=["arm", "mixing", "x"], columns="seed", values="value").dropna(axis=1)
        if "fresh" not in pairs.index:  # no ruler
            continue
        ruler = pairs.loc["fresh"]
        for (arm, mixing, x), own in pairs.drop("fresh").iterrows():
            try:
                rate = told_rate(own, _rate(x, tuple(own), tuple(ruler.index.get_level_values("x")), tuple(map(tuple, ruler.to_numpy()))))
            except ValueError as error:
                rate = str(error) if pairs.shape[1] > 2 else "not measured: fewer than three seeds"
            of = "oracle" if arm == "from noise" and n_real > main(frame)["n_real"] else arm
            name = f"{x:,.0f} {ARMS[of]}" + ", few distinct" * (mixing == "repeated")
            rows.append((f"{n_real:,}", name, pairs.shape[1], rate))
    return pd.DataFrame(rows, columns=["real images", "added", "seeds", RATE])


def beside_others(frame) -> str:
    """What synthetic and fresh images gain beside fewer and more real ones, in words, with what the generator saw; "" where
    that was not run."""
    p = frame.attrs["provenance"]["parameters"]
    rows = found(frame, mixing="shuffled", x=p["compared"], width=p["width"])
    parts = []
    for n_real, own in rows[rows["n_real"] != p["n_real"]].groupby("n_real"):
        gains, source = {row.arm: said(row) for row in own.itertuples()}, "the oracle" if n_real > p["n_real"] else f"a generator that saw {p['n_real']:,}"
        if {"from noise", "fresh"} <= set(gains):
            parts.append(
                f"Beside {n_real:,} real images, {p['compared']:,} of {source} gain {gains['from noise']} points, as many fresh ones {gains['fresh']}."
            )
    return " ".join(parts)


def told_rate(gain, rate) -> str:
    """A rate in words; of a gain that is not told from 0, what it is at least."""
    if np.isfinite(rate.estimate) and rate.estimate > rate.bound and paired_interval(gain).low <= 0:
        return f"at least {rate.low:.3g} (their gain is not told from 0)"
    return str(rate)


def difference(frame, *terms):
    """A sum of gains, (weight, columns and values) each, with limits over paired seeds; None where one is missing."""
    parts = [weight * select(gains(frame), **{**main(frame), **columns}).set_index("seed")["value"] for weight, columns in terms]
    return None if any(part.empty for part in parts) else paired_interval(sum(parts).dropna())


def contrasts(frame):
    """{name: interval or None} of what is compared beside the gains themselves."""
    p, noise = frame.attrs["provenance"]["parameters"], {"arm": "from noise", "mixing": "shuffled"}
    n, few, many = ({**noise, "x": x} for x in (p["compared"], p["added"][0], p["added"][-1]))
    narrow, wide = (f([p["width"], *p["widths"]]) for f in (min, max))

    def order(better, worse, sides=(("from noise", 1),)):
        return difference(
            frame,
            *(
                (side * sign, {"arm": arm, "x": p["pool"], "mixing": mixing, "share": p["order_share"]})
                for arm, side in sides
                for sign, mixing in ((1, better), (-1, worse))
            ),
        )

    fresh, beyond = (("fresh", 1),), (("from noise", 1), ("fresh", -1))
    return {
        "synthetic first, less real first": order("synthetic_first", "real_first"),
        "falling share, less mixed": order("falling", "mixed"),
        "fresh first, less original first": order("synthetic_first", "real_first", fresh),
        "falling, fresh": order("falling", "mixed", fresh),
        "synthetic first, less mixed": order("synthetic_first", "mixed"),
        "more": difference(frame, (1, many), (-1, few)),
        "distinct": difference(frame, (1, n), (-1, {**n, "mixing": "repeated"})),
        "end on real": order("synthetic_first", "real_first", beyond),
        "falling": order("falling", "mixed", beyond),
        "wider": difference(
            frame,
            *((side * sign, {**many_or_few, "width": width}) for side, width in ((1, wide), (-1, narrow)) for sign, many_or_few in ((1, many), (-1, few))),
        )
        if wide > narrow
        else None,
    }


def optimum(frame):
    """The share of a batch at which the mean gain is largest, and its bootstrap limits over seeds, as a text."""
    rows = select(gains(frame), arm="from noise", mixing="mixed", **main(frame))
    table = rows.pivot(index="seed", columns="share", values="value").dropna()
    table = pd.concat([pd.DataFrame({0.0: 0.0}, table.index), table], axis=1)  # of equals, the smallest
    drawn = np.random.default_rng(0).integers(len(table), size=(2000, len(table)))
    best = table.columns.to_numpy(float)[table.to_numpy()[drawn].mean(1).argmax(1)]
    low, high = np.quantile(best, (0.025, 0.975), method="nearest")
    return f"{table.mean().idxmax():g} [{low:g}, {high:g}]"


def over_neighbours(frame):
    """What the best share gains over the next smaller and larger one that were tried, as a text."""
    p, best = frame.attrs["provenance"]["parameters"], float(optimum(frame).split()[0])
    tried = sorted({best, *p["shares"]})
    place = tried.index(best)
    near = [*tried[max(place - 1, 0) : place], *tried[place + 1 : place + 2]]
    of = {"arm": "from noise", "mixing": "mixed", "x": p["pool"]}
    found = {share: difference(frame, (1, {**of, "share": best}), (-1, {**of, "share": share})) for share in near}
    return ", ".join(f"over {share:g} {said(one)}" for share, one in found.items() if one)


def numbers(frame):
    """What the chapter says in numbers, {name: text}."""
    p = frame.attrs["provenance"]["parameters"]
    texts = {f"{row.x:,.0f} {ARMS[row.arm]}": said(row) for row in found(frame, mixing="shuffled", **main(frame)).itertuples()}
    others = found(frame, mixing=["repeated", "replaced", "mixed"], arm="from noise", **main(frame))
    texts |= {row.mixing + f", {row.share:g}" * (row.mixing != "repeated"): said(row) for row in others.itertuples()}
    texts |= {name: said(row) for name, row in contrasts(frame).items()}
    own = select(rates(frame), **{"real images": f"{p['n_real']:,}"})
    texts |= {f"rate, {name}": rate for name, rate in zip(own["added"], own[RATE])}
    return texts | ({"best share": optimum(frame), "best share over its neighbours": over_neighbours(frame)} if "ratio" in p["studies"] else {})


def takeaways(frame, recorded):
    """The chapter in a line on what was run and three answers, Markdown; where no larger run is recorded, that there is none."""
    p, texts = frame.attrs["provenance"]["parameters"], numbers(frame)
    get, n, many = defaultdict(lambda: "not measured", texts).__getitem__, f"{p['compared']:,}", f"{p['added'][-1]:,}"
    if recorded is None:
        return (
            "**No larger run is recorded yet.** The figures below are of this small build: they show that the code runs, and answer "
            "nothing. The recorded run will say what a synthetic image is worth, and which share and order do best."
        )
    equal = {"mixing": "shuffled", "x": p["compared"]}
    more = difference(frame, (1, {"arm": "fresh", **equal}), (-1, {"arm": "from noise", **equal}))
    worth = "A fresh real image is worth more than a synthetic one." if more and more.low > 0 else "What a synthetic image is worth."
    replaced = next(found(frame, arm="from noise", mixing="replaced", share=p["replaced"][0], **main(frame)).itertuples(), None)
    share = "Add synthetic images; do not replace real ones." if replaced and replaced.high < 0 else "Which share."
    shares = ", ".join(f"{one:g}" for one in (0, *p["shares"]))
    others = "; ".join(f"with {x:,} added, {get(f'rate, {x:,} from noise')}" for x in p["added"] if x != p["compared"])
    first, falling = (
        verdict_of(contrasts(frame)[f"{order}, less mixed"], "it is better", "mixing is better", "either will do", "not told apart")
        for order in ("synthetic first", "falling share")
    )
    beaten = "One order beats" if "it is better" in (first, falling) else "No order was shown to beat"
    return "\n".join(
        [
            f"{dataset_name(frame['dataset'].iloc[0])}, {p['n_real']:,} real images, {network_name(p['architecture'])}, flips only; points of test accuracy.",
            "",
            f"1. **{worth}** {n} new images of the generator (*from noise*) gain {get(n + ' from noise')}. As many new "
            f"real ones (*fresh*) gain {get(n + ' fresh real images')}. One fresh image is worth {get(f'rate, {n} from noise')} of them; "
            f"{others}. Of an *oracle*, a generator that has seen more real images, it is worth "
            f"{get(f'rate, {n} from noise, oracle generator')}.",
            f"2. **{share}** Of {shares} of each batch, {get('best share').split()[0]} did best: "
            f"{get('mixed, ' + get('best share').split()[0])}, from {p['pool']:,} images. {many} merely added gain "
            f"{get(many + ' from noise')}; the two were not compared. In place of real images, at a share of {p['replaced'][0]:g}: "
            f"{get('replaced, ' + format(p['replaced'][0], 'g'))}.",
            f"3. **{beaten} an even mix.** Compared with an even mix, showing synthetic images first changes accuracy by {get('synthetic first, less mixed')} "
            f"({first}), a falling share by {get('falling share, less mixed')} ({falling}).",
        ]
    )


def against_added(live, recorded, panels, **more):
    """`lines` of gains against the number of images added."""
    shown = sorted(select(gains(recorded if live is None else live), mixing="shuffled")["x"].unique())
    return lines(gains(live), gains(recorded), panels, xscale="log", xticks={x: f"{x:,.0f}" for x in shown}, xlabel="images added", **more)


def exchange(live, recorded=None):
    """Gain against images added, a curve per source."""
    shown = Panel("gain", "gain (points)", line=0.0, where={"mixing": "shuffled", **main(recorded if live is None else live)})
    return against_added(live, recorded, [shown], hue="arm", names=ARMS)


def ratio(live, recorded=None):
    """Gain against the share of synthetic images: of each batch with a pool of fixed size, and at a fixed total."""
    frames = [
        frame if frame is None else select(gains(frame), arm="from noise", mixing=["mixed", "replaced"], **main(frame)).assign(x=lambda rows: rows["share"])
        for frame in (live, recorded)
    ]
    return lines(
        *frames,
        [Panel("gain", "gain (points, paired by seed)", line=0.0)],
        hue="mixing",
        names={"mixed": "pool of fixed size", "replaced": "in place of real images"},
        xlabel="share of synthetic images",
    )


def order(frame):
    """Gain of each order, of synthetic images and of fresh real ones in their place."""
    p = frame.attrs["provenance"]["parameters"]
    rows = found(frame, mixing=list(ORDERED), share=p["order_share"], x=p["pool"], **main(frame))
    return forest(rows, label="mixing", hue="arm", names=ORDERED, xlabel="gain over the original set (points)")


def scaling(live, recorded=None):
    """Gain against images added by the width of the network: images from noise, and fresh ones."""
    run = recorded if live is None else live
    shown = [
        Panel("gain", "gain (points)", title=ARMS[arm], line=0.0, where={"arm": arm, "mixing": "shuffled", "n_real": main(run)["n_real"]})
        for arm in ("from noise", "fresh")
    ]
    return against_added(live, recorded, shown, hue="width", names={w: f"width {w}" for w in sorted(run["width"].unique())})


def what_to_do(frame):
    """A decision table: the question, what was measured (points, 95 % limits), what to do."""
    p, own, texts = frame.attrs["provenance"]["parameters"], contrasts(frame), numbers(frame)
    n, few, many = (f"{x:,}" for x in (p["compared"], p["added"][0], p["added"][-1]))
    gain, replaced = (
        next(found(frame, arm="from noise", **where, **main(frame)).itertuples(), None)
        for where in ({"mixing": "shuffled", "x": p["compared"]}, {"mixing": "replaced", "share": max(p["replaced"])})
    )
    worth = [texts.get(f"rate, {x} from noise", "not measured") for x in (n, many)]
    rows = found(frame, arm="from noise", mixing="shuffled", x=p["compared"], width=p["width"])
    beside = [f"{row.n_real:,}{' (oracle)' * (row.n_real > p['n_real'])}: {said(row)}" for row in rows.sort_values("n_real").itertuples()]

    def row(question, measured, *advice):
        return question, said(measured), verdict_of(measured, *advice)

    rows = [
        row(f"Add {n} images from noise?", gain, "With flips alone, add them; on top of TrivialAugment they lost accuracy.", "Do not.", "It does not matter."),
        row(
            f"Replace {100 * max(p['replaced']):.0f} % of the real images by them?", replaced, "Replace them.", "Never: add, do not replace.", "Either will do."
        ),
        ("How many match one new real image?", f"{worth[0]}; of {many}: {worth[1]}", "Collect real images where one costs less than so many."),
        row(f"{many} in place of {few}?", own["more"], "Add more.", "Add fewer.", "The first are enough."),
        row("Draw new ones, or repeat a few?", own["distinct"], "Draw new ones.", "Repeat a few.", "A few will do."),
        (
            "How many real images have you?",
            "; ".join(beside) or "not measured",
            "The more you have, the less they add, though the generator saw others where it saw more.",
        ),
        (
            "Which share of a batch?",
            ": ".join(texts[name] for name in ("best share", "best share over its neighbours") if name in texts) or "not measured",
            "Take about that, also where the pool is larger than the real set.",
        ),
        row("Synthetic images first, or an even mix?", own["synthetic first, less mixed"], "Synthetic first.", "Mix them.", "Mix them."),
        row("A falling share, or an even mix?", own["falling share, less mixed"], "Let it fall.", "Mix them.", "Mix them."),
        row("If not mixed, which first?", own["synthetic first, less real first"], "Synthetic first.", "Real first.", "Either."),
        row(
            "More of them for a wider network?",
            own["wider"],
            "Yes.",
            "Fewer.",
            "The number need not grow with it.",
            "Undecided: choose the number as for your present network.",
        ),
    ]
    return pd.DataFrame(rows, columns=["your question", "measured (points, unless a rate or share)", "what to do"])
