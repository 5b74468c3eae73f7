"""Why generation gains less than fresh real images do: one suspect changed at a time, as a table and in words."""

from dataclasses import dataclass

import pandas as pd

from synaug.experiments.targeted_tables import base, gains, having, interval, trained
from synaug.statistics import holm, paired_interval, ratio_interval

#: Points: a difference whose whole 95 % interval lies this near to 0 counts as none, as in the claims.
NEGLIGIBLE = 0.2
#: The level that p-values, adjusted by Holm over all suspects, are held against.
LEVEL = 0.05


@dataclass(frozen=True)
class Suspect:
    """An arm at the largest k that differs from usual generation in what ``change`` says. budget: steps over the usual
    ones."""

    change: str
    arm: str = "generated"
    budget: float = 1.0


SUSPECTS = (
    Suspect("an oracle generator", "generated, oracle generator"),
    Suspect("images from noise alone", "generated, from noise"),
    Suspect("an oracle generator, from noise alone", "generated, from noise, oracle generator"),
    Suspect("several strengths in turn", "generated, several strengths"),
    Suspect("near-copies dropped", "generated, near-copies dropped"),
    Suspect("off-class images dropped", "generated, off-class dropped"),
    Suspect("half the steps", budget=0.5),
    Suspect("twice the steps", budget=2.0),
)
#: At other budgets the ceiling is another.
AT_USUAL_STEPS = tuple(suspect for suspect in SUSPECTS if suspect.budget == 1)


def of_arm(frame, rows, arm, k=None, budget=1.0, regime="small"):
    """Of rows of the frame the values of one arm, at the largest k if k is None, a Series by seed; empty where the run
    has none."""
    wanted = {**base(frame), "regime": regime, "budget": budget, "arm": arm, "x": frame["x"].max() if k is None else k}
    return having(rows, wanted).set_index("seed")["value"]


def dropped(frame, arm):
    """The share of images (%) that an arm has less than usual generation, mean over seeds."""
    own, usual = (of_arm(frame, trained(frame, "added"), name) for name in (arm, "generated"))
    return 100 * (1 - own / usual).mean()


def effects(frame):
    """A row a suspect that the run holds: its change and budget, dropped (% of the images), gain (over the
    original set trained as long), more (gain over that of usual generation, same seed) and over_copies (gain over that
    of upsampling at k = 2), each with 95 % limits, p_value of more, adjusted (Holm over the rows), and reading:
    "helps", "hurts", "no difference" or "not resolved". Points of test error.
    """
    found = gains(frame)
    usual, copies, rows = of_arm(frame, found, "generated"), of_arm(frame, found, "upsampled", k=2), []
    for suspect in SUSPECTS:
        own = of_arm(frame, found, suspect.arm, budget=suspect.budget)
        if len((own - usual).dropna()) < 2:
            continue
        more = paired_interval((own - usual).dropna())
        row = {"change": suspect.change, "budget": suspect.budget,
               "dropped": dropped(frame, suspect.arm), "n": more.n, "p_value": more.p_value}
        for name, values in (("gain", own), ("more", own - usual), ("over_copies", own - copies)):
            of = paired_interval(values.dropna())
            row |= {name: of.estimate, f"{name}_low": of.low, f"{name}_high": of.high}
        rows.append(row)
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    table["adjusted"] = holm(table["p_value"])
    return table.assign(reading=[reading(row) for row in table.itertuples()])


def reading(row):
    """What a row of `effects` says of its suspect."""
    if max(-row.more_low, row.more_high) < NEGLIGIBLE:
        return "no difference"
    if row.adjusted >= LEVEL:
        return "not resolved"
    return "helps" if row.more > 0 else "hurts"


def suspect_table(frame):
    """`effects` to read; empty where the run has no suspects."""
    if (found := effects(frame)).empty:
        return found
    named = {"more": "more than as usual, 95 % interval", "over_copies": "more than upsampling, k = 2",
             "gain": "gain over the original set"}
    return pd.DataFrame({
        "what was changed": found["change"], "reading": found["reading"], "seeds": found["n"],
        **{title: [interval(*limits) for limits in zip(found[name], found[f"{name}_low"], found[f"{name}_high"])]
           for name, title in named.items()},
        "adjusted p": found["adjusted"].map("{:.2g}".format),
        "images dropped": found["dropped"].map("{:.0f} %".format)})


def share_of_ceiling(frame, regime="small"):
    """(gain of generation, of fresh real images, their ratio), intervals at the largest k; None where a run has not
    both, or the ceiling is not told from 0."""
    found = gains(frame)
    made, fresh = (of_arm(frame, found, arm, regime=regime) for arm in ("generated", "fresh"))
    seeds = made.index.intersection(fresh.index)
    if len(seeds) < 2 or (ceiling := paired_interval(fresh[seeds])).low <= 0:
        return None
    return paired_interval(made[seeds]), ceiling, ratio_interval(made[seeds], fresh[seeds])


def gap_closed(frame, arm):
    """The share of what lies between usual generation and fresh real images that an arm gains more, with its interval;
    None where that gap is not told from 0."""
    found = gains(frame)
    own, made, fresh = (of_arm(frame, found, name) for name in (arm, "generated", "fresh"))
    more, gap = (own - made).dropna(), (fresh - made).dropna()
    seeds = more.index.intersection(gap.index)
    if len(seeds) < 2 or paired_interval(gap[seeds]).low <= 0:
        return None
    return ratio_interval(more[seeds], gap[seeds])


def what_the_oracle_adds(frame):
    """By where both generators start: how much more the oracle gains than the usual one, paired by seed, where a run
    has both."""
    found, added = gains(frame), {}
    for start, arm in (("from the classifier's images", "generated"), ("from noise alone", "generated, from noise")):
        more = (of_arm(frame, found, f"{arm}, oracle generator") - of_arm(frame, found, arm)).dropna()
        if len(more) > 1:
            added[start] = paired_interval(more)
    return added


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
    kinds = {"helps": "What helps", "hurts": "What hurts",
             "no difference": f"What changes less than {NEGLIGIBLE} points", "not resolved": "Not resolved"}
    for kind, said in kinds.items():
        if len(own := found[found["reading"] == kind]):
            lines.append(f"- {said}: " + "; ".join(
                f"{row.change} {interval(row.more, row.more_low, row.more_high)}" for row in own.itertuples()) + ".")
    if oracle := what_the_oracle_adds(frame):
        lines.append("- What the oracle generator gains over the usual one: " + "; ".join(
            f"{start} {interval(more.estimate, more.low, more.high)}" for start, more in oracle.items()) + ".")
    closed = {suspect.change: gap_closed(frame, suspect.arm) for suspect in AT_USUAL_STEPS}
    closed = {change: share for change, share in closed.items() if share is not None}
    if closed:
        said = "; ".join(f"{change} {100 * share.estimate:.0f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"
                         for change, share in closed.items())
        most = max(share.high for share in closed.values())
        lines.append(f"- Of the gap between generation and fresh real images is closed: {said}. So no one of these "
                     f"changes closes more than {100 * most:.0f} % of it, at 95 % confidence each.")
    return "\n".join(lines)
