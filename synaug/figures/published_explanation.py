"""What holds of the published explanation of mode concentration, step by step, from the verdicts on a run's claims."""

#: The steps of the explanation, each with the claims, by id, that its verdict rests on.
STEPS = {
    "An exact reverse process gathers samples at the modes": (
        "exact-process-concentrates", "exact-process-drifts-images"),
    "A process that climbs more steeply than the exact score says does": (
        "strong-score-concentrates", "coarse-euler-concentrates", "euler-concentrates"),
    "Other errors do not": ("weak-score-spreads", "noisy-score-costs-precision", "coarse-heun-spreads"),
    "The trained network climbs more steeply": ("network-score-too-strong",),
    "Samples of the trained network leave the edges bare and teach less": ("best-below-floor", "samples-train-worse"),
    "The worse the score, the more so": (
        "worse-score-less-recall", "worse-score-less-outer-edge", "worse-score-less-accuracy"),
}


def what_holds(verdicts):
    """A Markdown list: a step of the explanation a line, with the claims behind it and their verdicts.

    verdicts: `synaug.statistics.claims.verdict_table`; ValueError where it lacks one of the claims.
    """
    known = verdicts.set_index("id")
    lacking = [claim for claims in STEPS.values() for claim in claims if claim not in known.index]
    if lacking:
        raise ValueError(f"no verdict on {', '.join(lacking)}")
    return "\n".join(f"- *{step}.* " + " ".join(f"“{known.at[claim, 'statement']}” **{known.at[claim, 'verdict']}**."
                                                for claim in claims) for step, claims in STEPS.items())
