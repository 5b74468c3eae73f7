"""What chapter 7 shows: three families of generators, data that suffer, other settings of the diffusion model, what follows."""

import pandas as pd

from synaug.chapters.mode_concentration_figures import FOLLOWED
from synaug.chapters.other_generators import families as chapter
from synaug.chapters.other_generators.ablations import BASE, GUIDED, SOLVERS
from synaug.chapters.other_generators.data_traits import BASE as AS_IT_IS
from synaug.chapters.other_generators.families import INVERTED, NOISY
from synaug.chapters.reading import drawn_forest, interval, said, signed, told_each, values, well_sampled
from synaug.chapters.tasks import part, splits
from synaug.chapters.where_concentration_comes_from.real_generators import AUTOGUIDANCE, PLAIN
from synaug.metrics import FRESH_REAL
from synaug.plots import Panel, image_grid, lines
from synaug.statistics.contrasts import select
from synaug.statistics.exchange import exchange_rate
from synaug.statistics.frames import bare

NAMES = {"diffusion": "diffusion model", "vae": "VAE", "gan": "GAN"}
FROM_NOISE = {**NAMES, NOISY: "VAE with its noise"}
SHOWN = {"recall": "recall", "outer_edge_recall": "outer-edge recall", "precision": "precision"}
KINDS = dict(zip(INVERTED, ("seen in training", "not seen", "not seen, the tenth with the fewest neighbours")))
SOURCES = {**NAMES, FRESH_REAL: "fresh real images"}


def of(frame, name):
    return frame.attrs["provenance"]["parameters"][name]


def measured(frame, **where):
    """A single row's value and limits over images; None where it was not measured."""
    known = {name: value for name, value in where.items() if name in frame}
    rows = select(bare(frame), **known).rename(columns={"value": "estimate"})
    return next(rows.itertuples(), None) if len(known) == len(where) else None


def at_distance(live, recorded=None):
    """Recall of the outer edge and accuracy of classifiers at equal distance from the sources; None where no distance is
    reached by all families, as in small builds."""
    if select(bare(live if recorded is None else recorded), role="matched").empty:
        return None
    shown = [Panel(name, title, where={"role": "matched"}) for name, title in (("outer_edge_recall", "outer-edge recall"), ("test_accuracy", "test accuracy"))]
    return lines(live, recorded, shown, hue="arm", names=NAMES, xlabel="from the least to the largest distance")


def matched_table(frame):
    """All that was measured midway between the least and the largest distance that all families reach, and from noise."""
    places = of(frame, "places")
    rows = select(bare(frame), arm=list(FROM_NOISE))
    rows = pd.concat(
        [select(rows, role=role, x=x).assign(at=at) for at, role, x in (("midway", "matched", places[len(places) // 2]), ("from noise", "strength", 1.0))]
    )
    table = rows.pivot_table(index=["metric", "at"], columns="arm", values="value", sort=False).rename(columns=FROM_NOISE)
    words = {name: title for name, (title, _, _) in FOLLOWED.items()} | {
        "judge_accuracy": "judge's accuracy",
        "moved": "distance from the source",
        "test_accuracy": "test accuracy",
    }
    return table.rename_axis(columns=None).reset_index().replace({"metric": words})


def from_noise(frame):
    """Images from noise against fresh real ones, and the training images in their place."""
    rows = [
        ({"label": "original" if arm == "original" else arm, "panel": title}, measured(frame, role="strength", metric=metric, arm=arm, x=x))
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


def costs(*frames):
    """{set: interval} of the test error of synthetic images alone over that of real ones; and of the gain when they are added.
    frames: one or more runs, or None."""
    alone, gains = {}, {}
    for frame, name in ((run, name) for run in frames if run is not None for name in of(run, "sets")):
        own, real = select(bare(frame), set=name), values(frame, set=name, arm="original")
        alone[name] = interval(values(frame, set=name, arm="synthetic"), real)
        gains[name] = interval(real, values(frame, set=name, arm="added", x=own.loc[own["arm"] == "added", "x"].max()))
    return alone, gains


def traits(*frames):
    """By set: what training on synthetic images alone costs, and what they gain beside real ones. frames: as of `costs`."""
    alone, gains = costs(*frames)
    rows = [({"label": name, "panel": panel}, found) for panel, table in (("cost, alone", alone), ("gain, added", gains)) for name, found in table.items()]
    return drawn_forest(rows, panel="panel", names={name: name for name in alone}, xlabel="test error (points)")


def rates(*frames):
    """The table behind `traits`: error on real images, cost, gain, and how many synthetic images are worth a fresh real one."""
    alone, gains = costs(*frames)
    table, every = [], pd.concat([bare(frame) for frame in frames if frame is not None])
    for name in alone:
        rows = select(every, set=name).pivot_table(index="seed", columns=["arm", "x"], values="value")
        ruler = sorted(x for arm, x in rows if arm == "fresh")
        base, most = rows["original", 0.0], max(x for arm, x in rows if arm == "added")
        try:
            rate = str(exchange_rate(most, base - rows["added", most], ruler, [base - rows["fresh", x] for x in ruler]))
        except ValueError as error:
            rate = "no rate: " + ("too few seeds" if len(base) < 3 else str(error).split(":")[0])
        table.append(
            {
                "data": name,
                "real images": int(select(every, set=name)["n_real"].iloc[0]),
                "test error on real (%)": f"{base.mean():.1f}",
                "cost of synthetic alone (points)": said(alone[name]),
                "gain when added (points)": said(gains[name]),
                "synthetic per fresh real image": rate,
            }
        )
    return pd.DataFrame(table)


def networks(frame):
    """Each change of network or training: loss, recall, outer-edge recall, and accuracy over the base."""
    base, table = {"study": "networks", "arm": BASE}, []
    for arm in (*of(frame, "changes"), *([GUIDED] if BASE in of(frame, "changes") else [])):
        at = {"study": "networks", "arm": arm}
        found = {name: measured(frame, **at, metric=name) for name in ("mean_loss", "recall", "outer_edge_recall")}
        over = interval(*(100 * values(frame, **own, metric="test_accuracy") for own in (at, base))) if arm != BASE else None
        table.append(
            {
                "change": arm,
                **{name.replace("_", " "): "as the base" if one is None else said(one, "-") for name, one in found.items()},
                "accuracy over the base (points)": "0" if arm == BASE else said(over),
            }
        )
    return pd.DataFrame(table)


def levels(live, recorded=None):
    """Loss, and recall of the outer edge, against images seen in training."""
    shown = [Panel("mean_loss", "mean denoising loss", where={"study": "levels"}), Panel("outer_edge_recall", "outer-edge recall", where={"study": "levels"})]
    return lines(live, recorded, shown, hue="arm", names={BASE: "one training"}, xscale="log", xlabel="images seen")


def samplers(live, recorded=None):
    """Precision and outer-edge recall of samplers against how often they evaluate the network for an image."""
    shown = [Panel(name, SHOWN[name], where={"study": "samplers"}) for name in ("precision", "outer_edge_recall")]
    return lines(live, recorded, shown, hue="arm", names={name: name.capitalize() for name in SOLVERS}, xscale="log", xlabel="evaluations of the network")


def exploration(frame):
    """Outer-edge recall and accuracy with each term, at the strength that other seeds chose, over samples without any."""
    rows = []
    for metric, title, scale in (("outer_edge_recall", "outer-edge recall", 1), ("test_accuracy", "test accuracy (points)", 100)):
        own = {"study": "exploration", "role": "judged", "metric": metric}
        rows += [
            ({"label": term, "panel": title}, interval(*(scale * values(frame, **own, arm=arm, x=0.0) for arm in (term, PLAIN)))) for term in of(frame, "terms")
        ]
    return drawn_forest(
        rows,
        panel="panel",
        names={term: term for term in of(frame, "terms")},
        xlabel={title: f"{title}, over plain samples" for title in ("outer-edge recall", "test accuracy (points)")},
    )


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
        for n in sorted(set(select(bare(frame), role="departure")["x"].astype(int)))
    }
    return numbers | {f"inversion error, {arm}, {which}": measured(frame, role="inversion", arm=arm, which=which) for arm in NAMES for which in KINDS}


def of_data(frame):
    """The same of the data sets."""
    alone, gains = costs(frame)
    return {f"cost, {name}": one for name, one in alone.items()} | {f"gain, {name}": one for name, one in gains.items()}


def of_settings(frame):
    """The same of training and sampler."""
    edge = {"metric": "outer_edge_recall", "role": "judged"}
    numbers = {f"outer-edge recall, levels, {x:,}": interval(values(frame, **edge, study="levels", x=float(x))) for x in of(frame, "levels")}
    numbers |= {
        f"outer-edge recall, samplers, {arm}, {x:,}": measured(frame, **edge, study="samplers", arm=arm, x=float(x))
        for arm in SOLVERS
        for x in (of(frame, "evaluations")[0], of(frame, "evaluations")[-1])
    }
    own = {"study": "exploration", **edge, "x": 0.0}
    return numbers | {f"outer edge, {term}": interval(*(values(frame, **own, arm=arm) for arm in (term, PLAIN))) for term in of(frame, "terms")}


def found(*frames):
    """{name: interval or None} of what the chapter says in numbers; of the runs of its three experiments, None where there is none."""
    return {
        name: one for part, frame in zip((of_families, of_data, of_settings), frames, strict=True) if frame is not None for name, one in part(frame).items()
    }


def numbers(*frames):
    """What the chapter says in numbers, {name: text}; frames as of `found`."""
    changes = ("accuracy", "gain", "cost", "outer edge,")
    return {name: said(one, "+" if any(word in name for word in changes) else "-") for name, one in found(*frames).items()}


def takeaways(shown, recorded):
    """The chapter in three lines of Markdown, of the recorded runs among those shown; of the others, that they are not recorded.
    Both: frames of the three experiments, recorded ones None where there is none."""
    texts, known = numbers(*shown), found(*shown)
    costs = {name.removeprefix("cost, "): one.estimate for name, one in known.items() if name.startswith("cost, ") and one}
    worst = max(costs, key=lambda name: costs[name], default=AS_IT_IS)
    lines = [
        (
            "Which generator?",
            "Classifiers trained on images from noise alone differ from those on real ones by "
            + ", ".join(f"{texts[f'accuracy from noise, {arm}']} points ({title})" for arm, title in NAMES.items())
            + ".",
        ),
        (
            "Which data suffer?",
            f"Synthetic images alone cost {texts.get(f'cost, {AS_IT_IS}')} points on the data as they are, and most on "
            f"“{worst}”: {texts.get(f'cost, {worst}')}.",
        ),
        ("Can a sampler explore?", f"Autoguidance changes the recall of the outer edge by {texts.get(f'outer edge, {AUTOGUIDANCE}', 'an unknown amount')}."),
    ]
    return told_each(lines, recorded)


def what_to_do(shown, recorded):
    """Which generator would you take? A row per question, computed from its recorded run. shown, recorded: as of `takeaways`."""
    known = found(*shown)
    ratio = of(shown[0], "ratios")[0]
    gains = {arm: known[f"gain when added 1:{ratio}, {arm}"] for arm in NAMES}
    best = max((arm for arm in gains if gains[arm]), key=lambda arm: gains[arm].estimate, default=None)
    edge = {name.removeprefix("outer edge, "): one for name, one in known.items() if name.startswith("outer edge, ") and one}
    top = max(edge, key=lambda term: edge[term].estimate, default=None)
    rows = [
        (
            recorded[0],
            "Which family, to add to few real images?",
            "not measured" if best is None else f"gains: {', '.join(f'{NAMES[a]} {signed(g.estimate)}' for a, g in gains.items() if g)}",
            "open" if best is None or gains[best].low <= 0 else f"The {NAMES[best]}.",
        ),
        (
            recorded[2],
            "A term that explores?",
            "not measured" if top is None else f"{top}: {said(edge[top])} outer-edge recall",
            "open" if top is None or edge[top].low <= 0 else f"Yes: {top}.",
        ),
    ]
    return pd.DataFrame(
        [(question, *((measured, advice) if run is not None else ("", "not recorded yet"))) for run, question, measured, advice in rows],
        columns=["your question", "measured", "what to do"],
    )
