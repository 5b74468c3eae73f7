"""Why generation gains less than fresh real images do: one suspect changed at a time, as a table and in words."""

from dataclasses import dataclass

import pandas as pd

from synaug.experiments.targeted_tables import base, gains, trained
from synaug.statistics import holm, paired_interval, ratio_interval

#: Points: a difference whose whole 95 % interval lies this near to 0 counts as none, as in the claims.
NEGLIGIBLE = 0.2
#: The level that p-values, adjusted by Holm over all suspects, are held against.
LEVEL = 0.05


@dataclass(frozen=True)
class Suspect:
    """An arm at the largest k that differs from usual generation in one thing. budget: steps over the usual ones."""

    name: str
    change: str
    arm: str = "generated"
    budget: float = 1.0


SUSPECTS = (
    Suspect("the generator", "an oracle generator", "generated, oracle generator"),
    Suspect("the strength", "several strengths in turn", "generated, several strengths"),
    Suspect("near-copies", "near-copies dropped", "generated, near-copies dropped"),
    Suspect("wrong classes", "off-class images dropped", "generated, off-class dropped"),
    Suspect("too long a training", "half the steps", budget=0.5),
    Suspect("too short a training", "twice the steps", budget=2.0),
)


def by_seed(frame, arm, budget=1.0, regime="small"):
    """Gains over the original of an arm at the largest k, a Series by seed; empty where the run has none."""
    return of_arm(frame, gains(frame), arm, budget, regime)


def of_arm(frame, rows, arm, budget=1.0, regime="small"):
    """The values of one arm at the largest k, of rows of the frame, a Series by seed."""
    for column, wanted in {**base(frame), "regime": regime, "budget": budget}.items():
        rows = rows[rows[column] == wanted]
    return rows[(rows["arm"] == arm) & (rows["x"] == frame["x"].max())].set_index("seed")["value"]


def dropped(frame, arm):
    """The share of images (%) that an arm has less than usual generation, mean over seeds."""
    own, usual = (of_arm(frame, trained(frame, "added"), name) for name in (arm, "generated"))
    return 100 * (1 - own / usual).mean()


def effects(frame):
    """A row a suspect that the run holds: its name, change and budget, dropped (% of the images), gain (over the
    original set trained as long), more (gain over that of usual generation, same seed), each with low and high (95 %),
    p_value, adjusted (Holm over the rows), and reading: "helps", "hurts", "no difference" or "not resolved". Points of
    test error.
    """
    usual, rows = by_seed(frame, "generated"), []
    for suspect in SUSPECTS:
        own = by_seed(frame, suspect.arm, suspect.budget)
        more = (own - usual).dropna()
        if len(more) < 2:
            continue
        gain, change = paired_interval(own), paired_interval(more)
        rows.append({"suspect": suspect.name, "change": suspect.change, "budget": suspect.budget,
                     "dropped": dropped(frame, suspect.arm), "n": change.n, "gain": gain.estimate, "low": gain.low,
                     "high": gain.high, "more": change.estimate, "more_low": change.low, "more_high": change.high,
                     "p_value": change.p_value})
    table = pd.DataFrame(rows, columns=["suspect", "change", "budget", "dropped", "n", "gain", "low", "high", "more",
                                        "more_low", "more_high", "p_value"])
    table["adjusted"] = holm(table["p_value"]) if rows else []
    table["reading"] = [reading(row) for row in table.itertuples()]
    return table


def reading(row):
    """What a row of `effects` says of its suspect."""
    if row.adjusted < LEVEL:
        return "helps" if row.more > 0 else "hurts"
    return "no difference" if max(-row.more_low, row.more_high) < NEGLIGIBLE else "not resolved"


def suspect_table(frame):
    """`effects` to read."""
    found = effects(frame)
    return pd.DataFrame({
        "suspect": found["suspect"], "what was changed": found["change"],
        "images dropped": found["dropped"].map("{:.0f} %".format), "seeds": found["n"],
        "gain over the original set, 95 % interval": [interval(r.gain, r.low, r.high) for r in found.itertuples()],
        "more than as usual": [interval(r.more, r.more_low, r.more_high) for r in found.itertuples()],
        "adjusted p": found["adjusted"].map("{:.2g}".format), "reading": found["reading"]})


def interval(value, low, high, form="+.2f"):
    """In words."""
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def share_of_ceiling(frame, regime="small"):
    """(gain of generation, of fresh real images, their ratio), intervals at the largest k; None where a run has not
    both."""
    made, fresh = by_seed(frame, "generated", regime=regime), by_seed(frame, "fresh", regime=regime)
    seeds = made.index.intersection(fresh.index)
    if len(seeds) < 2 or fresh[seeds].mean() <= 0:
        return None
    return paired_interval(made[seeds]), paired_interval(fresh[seeds]), ratio_interval(made[seeds], fresh[seeds])


def suspect_words(frame):
    """What the suspects say together, as Markdown; empty where the run has none."""
    found, k = effects(frame), f"{frame['x'].max():g}"
    if found.empty:
        return ""
    lines = []
    for regime in ("small", "large"):
        if (shares := share_of_ceiling(frame, regime)) is not None:
            made, fresh, ratio = shares
            lines.append(f"- {regime.capitalize()} regime, k = {k}: generation gains "
                         f"{interval(made.estimate, made.low, made.high)} points, fresh real images "
                         f"{interval(fresh.estimate, fresh.low, fresh.high)}: {100 * ratio.estimate:.0f} % "
                         f"[{100 * ratio.low:.0f}, {100 * ratio.high:.0f}] of the ceiling.")
    kinds = {"helps": "What helps", "hurts": "What hurts", "no difference": f"Within {NEGLIGIBLE} points, so no cause",
             "not resolved": "Not resolved"}
    for kind, said in kinds.items():
        if len(own := found[found["reading"] == kind]):
            lines.append(f"- {said}: " + "; ".join(
                f"{row.change} {interval(row.more, row.more_low, row.more_high)}" for row in own.itertuples()) + ".")
    helps = found[(found["reading"] == "helps") & (found["budget"] == 1)]  # at other budgets the ceiling is another
    if len(helps) and (small := share_of_ceiling(frame)) is not None:
        gap = small[1].estimate - small[0].estimate
        best = helps.loc[helps["more"].idxmax()]
        lines.append(f"- At the usual steps, the most is gained by {best['suspect']}: {best['change']} closes "
                     f"{100 * best['more'] / gap:.0f} % of the {gap:.2f} points between generation and fresh real "
                     f"images.")
    return "\n".join(lines)
