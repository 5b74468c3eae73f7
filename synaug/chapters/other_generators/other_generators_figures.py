"""What chapter 7 shows: three families of generators, data that suffer, other settings of the diffusion model, what follows."""

import pandas as pd

from synaug.chapters.mode_concentration_figures import FOLLOWED
from synaug.chapters.other_generators import families as chapter
from synaug.chapters.other_generators.ablations import BASE, GUIDED, SOLVERS
from synaug.chapters.other_generators.data_traits import BASE as AS_IT_IS
from synaug.chapters.other_generators.data_traits import SETS
from synaug.chapters.other_generators.families import INVERTED, NOISY
from synaug.chapters.reading import drawn_forest, interval, said, signed, told_each, values, well_sampled
from synaug.chapters.sampling import AUTOGUIDANCE, PLAIN
from synaug.chapters.tasks import part, splits
from synaug.metrics import FRESH_REAL
from synaug.plots import Panel, image_grid, lines
from synaug.statistics.claims import CONFIRMED, verdict_table
from synaug.statistics.contrasts import select
from synaug.statistics.exchange import exchange_rate
from synaug.statistics.rules import REPRODUCED

NAMES = {"diffusion": "diffusion model", "vae": "VAE", "gan": "GAN"}
FROM_NOISE = {**NAMES, NOISY: "VAE with its noise"}
SHOWN = {"recall": "recall", "outer_edge_recall": "outer-edge recall", "precision": "precision"}
KINDS = dict(zip(INVERTED, ("seen in training", "not seen", "not seen, the tenth with the fewest neighbours")))
SOURCES = {**NAMES, FRESH_REAL: "fresh real images"}
OTHERS = {  # beside, and in place of, some of `FOLLOWED`
    "frechet_distance": ("Fréchet distance", ",.0f", 1),
    "moved": ("distance from the source", ".2f", 1),
    "test_accuracy": ("test accuracy (%)", ".1f", 100),
}
DESCRIBED = "One training stands behind each (behind guidance, the base's), and nothing is adjusted."
TITLES = {AS_IT_IS: "as it is: 10 classes, 200 images per class"}


def of(frame, name):
    return frame.attrs["provenance"]["parameters"][name]


def measured(frame, **where):
    """A single row's value and limits over images; None where it was not measured."""
    known = {name: value for name, value in where.items() if name in frame}
    rows = select(frame, **known).rename(columns={"value": "estimate"})
    return next(rows.itertuples(), None) if len(known) == len(where) else None


def at_distance(live, recorded=None):
    """Recall of the outer edge and accuracy of classifiers at equal distance from the sources; None where no distance is
    reached by all families, as in small builds."""
    run, where = live if recorded is None else recorded, {"role": "matched"}
    if select(run, **where).empty:
        return None
    shown = [Panel("outer_edge_recall", "outer-edge recall", where=where), Panel("test_accuracy", "test accuracy (%)", where=where, scale=100)]
    ticks = {x: f"{distance:.2f}" for x, distance in select(run, **where, metric="moved").groupby("x")["value"].mean().items()}
    return lines(live, recorded, shown, hue="arm", names=NAMES, xticks=ticks, xlabel="relative distance from the source")


def matched_table(frame):
    """All that was measured midway between the least and the largest distance that all families reach, and from noise."""
    places = of(frame, "places")
    rows = select(frame, arm=list(FROM_NOISE))
    rows = pd.concat(
        [select(rows, role=role, x=x).assign(at=at) for at, role, x in (("midway", "matched", places[len(places) // 2]), ("from noise", "strength", 1.0))]
    )
    table = rows.pivot_table(index=["metric", "at"], columns="arm", values="value", sort=False).rename(columns=FROM_NOISE)
    table = table.rename_axis(columns=None).reset_index()
    words, forms, factors = zip(*((FOLLOWED | OTHERS)[metric] for metric in table["metric"]))
    for arm in FROM_NOISE.values():
        table[arm] = ["" if pd.isna(value) else f"{factor * value:{form}}" for value, form, factor in zip(table[arm], forms, factors)]
    return table.assign(metric=words)


def from_noise(frame):
    """Images from noise against fresh real ones, and the training images in their place."""
    rows = [
        ({"label": arm, "panel": title}, measured(frame, role="strength", metric=metric, arm=arm, x=x))
        for metric, title in SHOWN.items()
        for arm, x in (("original", 0.0), *((name, 1.0) for name in FROM_NOISE))
    ]
    return drawn_forest(rows, panel="panel", names={"original": "training images", **FROM_NOISE}, xlabel={title: title for title in SHOWN.values()}, zero=None)


def accuracy(frame):
    """Test accuracy of classifiers that are trained on reconstructions alone, over that of the real images, by strength."""
    real = 100 * values(frame, role="strength", metric="test_accuracy", arm="original")
    rows = [
        (
            {"label": arm, "group": "from noise" if x == 1 else f"strength {x:g}"},
            interval(100 * values(frame, role="strength", metric="test_accuracy", arm=arm, x=x), real),
        )
        for x in of(frame, "strengths")
        for arm in (FROM_NOISE if x == 1 else NAMES)
    ]
    return drawn_forest(rows, group="group", names=FROM_NOISE, xlabel="test accuracy (points), over training on real images")


def inversion(frame):
    """The error of the nearest reconstruction, by family and by what is reconstructed."""
    rows = [({"label": which, "group": title}, measured(frame, role="inversion", arm=arm, which=which)) for arm, title in NAMES.items() for which in KINDS]
    return drawn_forest(rows, group="group", names=KINDS, xlabel="root mean square error of pixels in [-1, 1]", zero=None)


def adding(frame):
    """What images from noise gain when they are added to few real ones."""
    base = values(frame, role="adding", arm="original")
    rows = [
        ({"label": arm, "group": f"{ratio} for each real one"}, interval(base, values(frame, role="adding", arm=arm, x=float(ratio))))
        for ratio in of(frame, "ratios")
        for arm in SOURCES
    ]
    return drawn_forest(rows, group="group", names=SOURCES, xlabel="gain in test accuracy (points)")


def pictures(settings, get):
    """A real training image, and one from noise of each family, of every class."""
    settings, classes = well_sampled(settings, "sampling_steps"), splits(settings.generator)["real"].num_classes
    sources = part(settings.generator, "real", classes)
    rows = {"real": sources} | {NAMES[family]: chapter.made(settings, family, 1.0, sources) for family in ("diffusion", *settings.families)}
    order = get(sources).labels.argsort()
    return image_grid([get(task).images[order] for task in rows.values()], list(rows), get(sources).class_names)


def costs(frame):
    """{set: interval} of the test error of synthetic images alone over that of real ones; of that over the same on the data
    as they are, for the others; and of the gain when they are added."""
    alone, over, gains, of_base = {}, {}, {}, None
    for name in (name for name in SETS if name in of(frame, "sets")):
        own, real = select(frame, set=name), values(frame, set=name, arm="original")
        cost = values(frame, set=name, arm="synthetic") - real
        of_base = cost if name == AS_IT_IS else of_base
        alone[name] = interval(cost)
        if name != AS_IT_IS:
            over[name] = None if of_base is None else interval(cost, of_base)
        gains[name] = interval(real, values(frame, set=name, arm="added", x=own.loc[own["arm"] == "added", "x"].max()))
    return alone, over, gains


def sides(table):
    """Two of {name: interval or None}: those whose whole interval lies above 0, and those whose lies below."""
    known = {name: one for name, one in table.items() if one}
    return {name: one for name, one in known.items() if one.low > 0}, {name: one for name, one in known.items() if one.high < 0}


def traits(frame):
    """By set: what training on synthetic images alone costs, and what they gain beside real ones."""
    alone, _, gains = costs(frame)
    panels = {"cost": "more test error, alone (points)", "gain": "less test error, when added (points)"}
    rows = [({"label": name, "panel": panel}, found) for panel, table in zip(panels, (alone, gains)) for name, found in table.items()]
    base = alone.get(AS_IT_IS)
    zero = {"cost": base and base.estimate, "gain": 0.0}
    return drawn_forest(rows, panel="panel", names={name: TITLES.get(name, name) for name in alone}, xlabel=panels, zero=zero)


def traits_said(frame):
    """In words: the cost on the data as they are, which traits add most and least to it, and how many sets gain from added images."""
    alone, over, gains = costs(frame)
    more, (larger, smaller) = {name: one for name, one in over.items() if one}, sides(over)
    order = sorted(more, key=lambda name: more[name].estimate)
    extremes = f"“{order[-1]}” changes that by {said(more[order[-1]])}, “{order[0]}” by {said(more[order[0]])}" if order else "nothing else was measured"
    return (
        f"On the data as they are, synthetic images alone cost {said(alone.get(AS_IT_IS), '-')} points. Paired by seed, {extremes}. "
        f"The cost is higher, with the whole interval, on {len(larger)} of {len(more)} other sets, and lower on {len(smaller)}. "
        f"Added to the real ones, images of so briefly trained generators gain on {len(sides(gains)[0])} of {len(gains)} sets. "
        "Where nothing is gained, there is no exchange rate."
    )


def rates(frame):
    """The table behind `traits`: error on real images, cost, gain, and how many synthetic images are worth a fresh real one."""
    alone, _, gains = costs(frame)
    table = []
    for name in alone:
        rows = select(frame, set=name).pivot_table(index="seed", columns=["arm", "x"], values="value")
        ruler = sorted(x for arm, x in rows if arm == "fresh")
        base, most = rows["original", 0.0], max(x for arm, x in rows if arm == "added")
        try:
            rate = str(exchange_rate(most, base - rows["added", most], ruler, [base - rows["fresh", x] for x in ruler]))
        except ValueError as error:
            rate = "no rate: " + ("too few seeds" if len(base) < 3 else str(error).split(":")[0])
        table.append(
            {
                "data": TITLES.get(name, name),
                "real images": int(select(frame, set=name)["n_real"].iloc[0]),
                "test error on real (%)": f"{base.mean():.1f}",
                "cost of synthetic alone (points)": said(alone[name], "-"),
                "gain when added (points)": said(gains[name]),
                "synthetic per fresh real image": rate,
            }
        )
    return pd.DataFrame(table)


def changed(frame):
    """{change: {metric: interval or None}}: loss and accuracy over the base, recall and outer-edge recall themselves. All are of
    one generator each; loss is paired over images, accuracy over seeds."""
    at = {"study": "networks", "role": "judged"}
    base, table = 100 * values(frame, **at, arm=BASE, metric="test_accuracy"), {}
    for arm in (*of(frame, "changes"), *([GUIDED] if "networks" in of(frame, "studies") else [])):
        table[arm] = {name: measured(frame, **at, arm=arm, metric=name) for name in ("mean_loss_excess", "recall", "outer_edge_recall")}
        table[arm]["test_accuracy"] = None if arm == BASE else interval(100 * values(frame, **at, arm=arm, metric="test_accuracy"), base)
    return table


def networks(frame):
    """The table of `changed`, fresh real images in the samples' place last."""
    found, base = changed(frame), measured(frame, study="networks", arm=BASE, metric="mean_loss")
    table = [
        {
            "change": arm,
            "denoising loss, over the base": f"0 (it has {base.estimate:.3f})"
            if arm == BASE
            else said(own["mean_loss_excess"], digits=4)
            if arm != GUIDED
            else "as the base",
            "recall": said(own["recall"], "-"),
            "outer-edge recall": said(own["outer_edge_recall"], "-"),
            "accuracy over the base (points)": "0" if arm == BASE else said(own["test_accuracy"]),
        }
        for arm, own in found.items()
    ]
    real = [said(measured(frame, study="baseline", metric=name), "-") for name in ("recall", "outer_edge_recall")]
    accuracy = interval(*(100 * values(frame, study=study, arm=arm, metric="test_accuracy") for study, arm in (("baseline", FRESH_REAL), ("networks", BASE))))
    return pd.DataFrame([*table, dict(zip(table[0], ("fresh real images", "", *real, said(accuracy))))])


def changes(frame):
    """Recall and accuracy of each change of network or training."""
    found, panels = changed(frame), {"recall": "recall", "test_accuracy": "test accuracy over the base (points)"}
    rows = [({"label": arm, "panel": metric}, own[metric]) for arm, own in found.items() for metric in panels]
    zero = {"recall": found[BASE]["recall"].estimate, "test_accuracy": 0.0}
    return drawn_forest(rows, panel="panel", names={arm: arm for arm in found}, xlabel=panels, zero=zero)


def moved(frame):
    """Two of {change: interval}: those that raise accuracy with their whole interval, and those that lower it."""
    return sides({arm: found["test_accuracy"] for arm, found in changed(frame).items()})


def listed(some):
    """{name: interval} in words."""
    return ", ".join(f"{name} ({said(one)})" for name, one in some.items())


def changes_said(frame):
    """In words: which changes moved accuracy with their whole interval, and that nothing is adjusted."""
    better, worse = map(listed, moved(frame))
    return f"In points, accuracy rises with {better or 'no change'}. It falls with {worse or 'no change'}. {DESCRIBED}"


def most_said(frame):
    """In words: how many changes move accuracy with their whole interval, and which most."""
    better, worse = moved(frame)

    def most(some, pick):
        name = pick(some, key=lambda arm: some[arm].estimate, default=None)
        return f", most “{name}” ({said(some[name])} points)" if name else ""

    return (
        f"Of {len(changed(frame)) - 1} changes, {len(better)} raise accuracy with the whole interval{most(better, max)}, "
        f"and {len(worse)} lower it{most(worse, min)}. {DESCRIBED}"
    )


def terms_said(frame):
    """In words: what autoguidance changes, and which other terms move accuracy with their whole interval."""
    terms = explored(frame)
    own, others = terms.get(AUTOGUIDANCE, {}), {term: found["test_accuracy"] for term, found in terms.items() if term != AUTOGUIDANCE}
    better, worse = (listed(some) or "none" for some in sides(others))
    return (
        f"Autoguidance changes the outer-edge recall by {said(own.get('outer_edge_recall'))}, and accuracy by {said(own.get('test_accuracy'))} points. "
        f"The other terms are exploratory. Of these, accuracy rises with {better}, and falls with {worse}."
    )


def losses_said(frame):
    """In words: how far the denoising loss orders the trainings by recall and accuracy."""
    found = changed(frame)
    found[BASE] |= {"test_accuracy": found[BASE]["mean_loss_excess"]}  # 0, what the others are compared with
    table = pd.DataFrame({arm: {name: one and one.estimate for name, one in own.items()} for arm, own in found.items() if arm != GUIDED}).T
    by_loss = table.astype(float).corr("spearman")["mean_loss_excess"]
    return (
        f"Over these {len(table)} trainings, the base among them, the rank correlation of the denoising loss is {signed(by_loss['recall'])} with recall "
        f"and {signed(by_loss['test_accuracy'])} with accuracy. It would be {signed(-1, 0)} if the smallest loss always did best."
    )


def of_real(frame, metric):
    """What fresh real images score in the samples' place, as a line of a panel."""
    found = measured(frame, study="baseline", metric=metric)
    return {} if found is None else {"fresh real": found.estimate}


def levels(live, recorded=None):
    """Loss, and recall of the outer edge, against images seen in training."""
    run, where = live if recorded is None else recorded, {"study": "levels"}
    shown = [
        Panel("mean_loss", "mean denoising loss", where=where),
        Panel("outer_edge_recall", "outer-edge recall", where=where, line=of_real(run, "outer_edge_recall")),
    ]
    ticks = {x: f"{x / 1e6:g}" for x in of(run, "levels")}
    return lines(live, recorded, shown, hue="arm", names={BASE: "one training"}, xscale="log", xticks=ticks, xlabel="images seen (millions)")


def samplers(live, recorded=None):
    """Precision and outer-edge recall of samplers against how often they evaluate the network for an image."""
    run = live if recorded is None else recorded
    shown = [Panel(name, SHOWN[name], where={"study": "samplers"}, line=of_real(run, name)) for name in ("precision", "outer_edge_recall")]
    names = {name: name.capitalize() for name in SOLVERS}
    return lines(live, recorded, shown, hue="arm", names=names, xscale="log", xticks=of(run, "evaluations"), xlabel="evaluations of the network")


def samplers_said(frame):
    """In words: precision and outer-edge recall of each sampler, with the fewest and the most evaluations."""
    ends = min(of(frame, "evaluations")), max(of(frame, "evaluations"))

    def each(tell):
        return ", ".join(f"{' and '.join(tell(arm=arm, x=float(x)) for x in ends)} ({arm.capitalize()})" for arm in SOLVERS)

    edge, precision = (
        each(lambda metric=metric, **of: said(measured(frame, study="samplers", metric=metric, **of), "-")) for metric in ("outer_edge_recall", "precision")
    )
    learned = each(lambda **of: f"{100 * values(frame, study='samplers', metric='test_accuracy', **of).mean():.1f}")
    return f"With {ends[0]} and with {ends[1]} evaluations, the outer-edge recall is {edge}. The precision is {precision}. Classifiers reach {learned} %."


def explored(frame):
    """{term: {metric: interval or None}} of each term at the strength that other seeds chose, over samples without any; accuracy
    in points."""
    at = {"study": "exploration", "role": "judged", "x": 0.0}
    return {
        term: {
            metric: interval(*(scale * values(frame, **at, metric=metric, arm=arm) for arm in (term, PLAIN)))
            for metric, scale in (("outer_edge_recall", 1), ("test_accuracy", 100))
        }
        for term in of(frame, "terms")
    }


def exploration(frame):
    """Outer-edge recall and accuracy with each term, over samples without any."""
    panels = {"outer_edge_recall": "outer-edge recall over plain", "test_accuracy": "accuracy over plain (points)"}
    rows = [({"label": term, "panel": metric}, found) for term, own in explored(frame).items() for metric, found in own.items()]
    strengths = {term: values(frame, study="exploration", metric="strength", arm=term) for term in of(frame, "terms")}
    names = {term: term + "".join(f", {strength:g}" for strength in found) for term, found in strengths.items()}
    return drawn_forest(rows, panel="panel", names=names, xlabel=panels)


def of_families(frame):
    """{name: interval or None} of what the chapter says of the families in numbers."""
    real = 100 * values(frame, role="strength", metric="test_accuracy", arm="original")
    ratios, base = of(frame, "ratios"), values(frame, role="adding", arm="original")
    numbers = {
        f"accuracy from noise, {arm}": interval(100 * values(frame, role="strength", metric="test_accuracy", arm=arm, x=1.0), real) for arm in FROM_NOISE
    }
    numbers |= {f"gain when added 1:{ratios[0]}, {arm}": interval(base, values(frame, role="adding", arm=arm, x=float(ratios[0]))) for arm in SOURCES}
    numbers |= {
        f"{title} from noise, {arm}": measured(frame, role="strength", metric=metric, arm=arm, x=1.0) for metric, title in SHOWN.items() for arm in FROM_NOISE
    }
    midway = of(frame, "places")[len(of(frame, "places")) // 2]
    numbers |= {
        f"{title} midway, {arm}": one
        for arm in NAMES
        for title, one in (
            ("distance", measured(frame, role="matched", metric="moved", arm=arm, x=midway)),
            ("outer-edge recall", measured(frame, role="matched", metric="outer_edge_recall", arm=arm, x=midway)),
            ("accuracy over real", interval(100 * values(frame, role="matched", metric="test_accuracy", arm=arm, x=midway), real)),
        )
    }
    numbers |= {
        f"nats from the prior, VAE of {n:,}": measured(frame, role="departure", x=float(n))
        for n in sorted(set(select(frame, role="departure")["x"].astype(int)))
    }
    return numbers | {f"inversion error, {arm}, {which}": measured(frame, role="inversion", arm=arm, which=which) for arm in NAMES for which in KINDS}


def of_data(frame):
    """The same of the data sets."""
    return {f"{what}, {name}": one for what, table in zip(("cost", "cost beyond the base", "gain"), costs(frame)) for name, one in table.items()}


def of_settings(frame):
    """The same of training and sampler."""
    edge = {"metric": "outer_edge_recall", "role": "judged"}
    numbers = {f"outer-edge recall, levels, {x:,}": interval(values(frame, **edge, study="levels", x=float(x))) for x in of(frame, "levels")}
    numbers |= {
        f"outer-edge recall, samplers, {arm}, {x:,}": measured(frame, **edge, study="samplers", arm=arm, x=float(x))
        for arm in SOLVERS
        for x in (of(frame, "evaluations")[0], of(frame, "evaluations")[-1])
    }
    numbers |= {f"accuracy, {arm}": own["test_accuracy"] for arm, own in changed(frame).items() if arm != BASE}
    for term, own in explored(frame).items():
        numbers |= {f"outer edge, {term}": own["outer_edge_recall"], f"accuracy, {term}": own["test_accuracy"]}
    return numbers


def found(*frames):
    """{name: interval or None} of what the chapter says in numbers; of the runs of its three experiments, None where there is none."""
    return {
        name: one for part, frame in zip((of_families, of_data, of_settings), frames, strict=True) if frame is not None for name, one in part(frame).items()
    }


def numbers(*frames):
    """What the chapter says in numbers, {name: text}; frames as of `found`."""
    changes = ("accuracy", "gain", "beyond", "outer edge,")
    return {name: said(one, "+" if any(word in name for word in changes) else "-") for name, one in found(*frames).items()}


def takeaways(shown, recorded):
    """The chapter in three lines of Markdown, of the recorded runs among those shown; of the others, that they are not recorded.
    Both: frames of the three experiments, recorded ones None where there is none."""
    texts, known = numbers(*shown), found(*shown)
    cost, gain = ({name: one for name, one in table.items() if one} for table in costs(shown[1])[::2])
    worst, best = (max(table, key=lambda name: table[name].estimate, default=AS_IT_IS) for table in (cost, gain))
    alone = [known[f"accuracy from noise, {arm}"] for arm in NAMES]
    lines = [
        (
            "Which generator?",
            all(one and one.high < 0 for one in alone) and "Images from noise lose to as many real ones in every family.",
            "Classifiers trained on images from noise alone differ from those on real ones by "
            + ", ".join(f"{texts[f'accuracy from noise, {arm}']} points ({title})" for arm, title in NAMES.items())
            + ".",
        ),
        (
            "Which data suffer?",
            all(one.low > 0 for one in cost.values()) and "Synthetic images alone cost accuracy on every set.",
            f"They cost {texts.get(f'cost, {AS_IT_IS}')} points on the data as they are, and most on “{worst}”: "
            f"{texts.get(f'cost, {worst}')} points. Added to real ones they gain on {len(sides(gain)[0])} of {len(gain)} sets, "
            f"most on “{best}”: {texts.get(f'gain, {best}')} points. All these generators were trained for a short while.",
        ),
        (
            "Which settings, and can a sampler explore?",
            "Some settings gain accuracy." if moved(shown[2])[0] else "No setting gains accuracy for certain.",
            f"{most_said(shown[2])} Autoguidance changes the recall of the outer edge by {texts.get(f'outer edge, {AUTOGUIDANCE}', 'an unknown amount')}, "
            f"and accuracy by {texts.get(f'accuracy, {AUTOGUIDANCE}', 'an unknown amount')} points.",
        ),
    ]
    return told_each(lines, recorded)


def what_to_do(shown, recorded):
    """Which generator would you take? A row per question, computed from its recorded run, and decided by verdicts on it.
    shown, recorded: as of `takeaways`."""
    known, ratio = found(*shown), of(shown[0], "ratios")[0]
    gains = {NAMES[arm]: known[f"gain when added 1:{ratio}, {arm}"] for arm in NAMES}
    runs = [frame for frame in recorded if frame is not None]
    held = {row.id for frame in runs for row in verdict_table(frame, beside=runs).itertuples() if row.verdict == CONFIRMED[REPRODUCED]}
    edge, accuracy = (known.get(f"{what}, {AUTOGUIDANCE}") for what in ("outer edge", "accuracy"))
    others = listed(sides({term: own["test_accuracy"] for term, own in explored(shown[2]).items() if term != AUTOGUIDANCE})[0])
    best = max((name for name in gains if gains[name]), key=lambda name: gains[name].estimate, default=None)
    worst, paying = (sides(table)[0] for table in costs(shown[1])[1:])
    settings, _ = moved(shown[2])
    rows = [
        (
            recorded[0],
            "Which family, to add to few real images?",
            ", ".join(f"{name} {said(gain)}" for name, gain in gains.items()),
            "The diffusion model."
            if "families-diffusion-adds-most" in held
            else "open"
            if best is None or gains[best].low <= 0
            else f"The {best}; that it is the best is not certain.",
        ),
        (
            recorded[1],
            "Are your images hard for a generator?",
            ", ".join(f"{name} {said(one)}" for name, one in worst.items()) or "no trait costs more for certain",
            "Expect a larger loss on such data; compare with as many real images." if worst else "open",
        ),
        (
            recorded[1],
            "Is a generator worth it that is trained for a short while?",
            ", ".join(f"{name} {said(one)}" for name, one in paying.items()) or "no set gains for certain",
            "They gained there, where regularisation was not tried; elsewhere train it for longer first." if paying else "Train it for longer first.",
        ),
        (
            recorded[2],
            "Which setting to change first?",
            ", ".join(f"{arm} {said(one)}" for arm, one in settings.items()) or "no change gains accuracy for certain",
            "Try these; each is one training, and nothing is adjusted." if settings else "None of these is certain to pay.",
        ),
        (
            recorded[2],
            "A term that explores?",
            f"{AUTOGUIDANCE}: {said(edge)} outer-edge recall, {said(accuracy)} points of accuracy; others that gain accuracy: {others or 'none'}",
            f"To cover more, {'autoguidance' if 'autoguidance-covers-more' in held else 'open'}. For accuracy, "
            + ("autoguidance." if "autoguidance-trains-better" in held else f"none is confirmed{'; try those named' * bool(others)}."),
        ),
    ]
    return pd.DataFrame(
        [(question, *((measured, advice) if run is not None else ("", "not recorded yet"))) for run, question, measured, advice in rows],
        columns=["your question", "measured (points, 95 % intervals)", "what to do"],
    )
