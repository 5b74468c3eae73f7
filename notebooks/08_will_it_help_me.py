# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,mystnb,-all
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8. Will it help me? An audit, and what predicts the gain
#
# You have real images and synthetic ones. Training with both tells whether they help, but takes hours, and must be repeated for every set you make.
# This chapter asks what can be known in a minute: it audits sets of images whose gain was measured, and tests which measure predicts that gain.
# Give it two folders of your own (`-p real ... -p synthetic ...`), and it is the report on your images.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Show the parameters", "code_prompt_hide": "Hide the parameters"}
profile = None  # Size of the run: "smoke", "quick" or "standard"; None: $SYNAUG_PROFILE, or "quick" ("smoke" beside your images).
real = None  # Folder of your real images, with a subfolder per class.
synthetic = None  # Folder of your synthetic images, with the same subfolders.
held_out = None  # Folder of real images that your generator has not seen; a third of real if None.
studies = None  # What is run, some of: "pools", "choice"; all if None.
generator = None  # Name or folder of a trained generator, whose training images are the real images.
pools = None  # Sets of images, by name, see synaug.chapters.will_it_help_me.POOLS.
added = None  # Images of each set that are added.
steps = None  # Optimiser steps of each training.
seeds = None  # Paired trainings with each set.
device = None  # Where networks run: "cpu", "cuda" or "mps"; "cpu" if None.
settings = {}  # Further parameters of synaug.chapters.will_it_help_me.Prediction, by name.

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the set-up", "code_prompt_hide": "Hide the set-up"}
from synaug.chapters.will_it_help_me import EXPERIMENT

profile = profile or (None if real is None else "smoke")
parameters = EXPERIMENT.read(globals())

from collections import defaultdict

import torch
from IPython.display import Markdown
from torch.nn import functional as F

import synaug
from synaug.auditing.planted import check
from synaug.chapters import will_it_help_me as chapter
from synaug.chapters import will_it_help_me_figures as figures
from synaug.chapters.reading import decided, runs_table, side_by_side, told
from synaug.chapters.tasks import splits
from synaug.data import stratified_subset
from synaug.plots import idea, table_html, theme
from synaug.run import Store
from synaug.run.results import recorded_run

theme()
live = EXPERIMENT.run(**parameters)
recorded = recorded_run(live)
largest = live if recorded is None else recorded
further = None if recorded is None else figures.further_run(recorded)
everything = figures.joined(largest, further)
held = largest.attrs["provenance"]["parameters"]["studies"]
checked, get = EXPERIMENT.settings(**parameters), Store().get
found = defaultdict(lambda: "not measured", figures.numbers(largest))
how = {"encoder": parameters.get("encoder") or (checked.encoder if checked.real is None else "efficientnet_lite0"),
       "device": checked.device, "image_size": checked.image_size}  # of the audit

# %% tags=["remove-input"]
Markdown(figures.takeaways(largest, recorded, everything))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The chapter in one picture: a gain is predicted without training networks, and measured by training them.", "name": "fig-idea-8"}, "image": {"alt": "Real, synthetic and held-out images go two ways: cheap measures predict a gain, paired trainings measure it, and the last box asks whether the two agree."}}
idea(
    ["real, synthetic and held-out images"],
    ["measures: linear classifiers at most", "paired trainings of networks"],
    ["predicted gain", "measured gain"],
    ["Do they agree?"],
);

# %% [markdown]
# The measures are worth their little time only if both gains agree.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the runs behind this page", "code_prompt_hide": "Hide the runs behind this page"}
runs_table(EXPERIMENT, live, recorded)

# %% [markdown]
# ## The audit
#
# An audit compares synthetic images with real ones that are held out, and puts the same number of real images in their place as the baseline: what a perfect generator would score.
# It trains nothing but linear classifiers on features of a fixed network. Here is one, of images from noise; with folders of your own it is theirs. In a small build the sampler takes few steps, so its images are unfinished and the audit must find faults: look at the form of the report.

# %% tags=["hide-output"]
own = checked.real, checked.synthetic, checked.held_out
if checked.real is None:  # no folders are given
    own = map(get, (
        chapter.images(checked, "real"), chapter.pool(checked, "from noise"),
        chapter.images(checked, "validation")))
report = synaug.audit(*own, **how)
print(report.summary())

# %% [markdown]
# From a terminal, `python -m synaug audit real synthetic --html audit.html` writes the same as a page with pictures. They show near-copies in pairs, labels that a judge doubts, and the real images that synthetic ones cover least.

# %% tags=["remove-input"]
table_html(report.checks.assign(passed=report.checks["passed"].map({True: "yes", False: "no"})),
           "The audit's thresholds: a value, its 95 % interval, and the bound that the whole interval must not lie beyond.")

# %% tags=["remove-input"]
figures.full_page(report) if checked.real is not None else None  # with its galleries

# %% [markdown]
# Does it find what is wrong? Half of the real images stands for synthetic ones, and known defects are planted into it, each alone. (`python -m synaug audit real --check` does so with yours.)

# %% tags=["hide-input"]
planted = (check(stratified_subset(splits(checked.generator)["fresh"], 300, seed=0), **how)
           if checked.real is None else check(checked.real, checked.held_out, **how))
table_html(planted.assign(ok=planted["ok"].map({True: "yes", False: "no"})).round(2).rename(columns={"by": "shown by", "false_alarms": "false alarms"}),
           "Known defects, how many images have each, and what the audit finds of them; false alarms are the share of other images that it names.")

# %% tags=["remove-input"]
Markdown(f"It finds {planted['ok'].iloc[1:].sum()} of {len(planted) - 1} defects, and {'no' if planted['ok'].iloc[0] else 'a'} fault where there is none. "
         "Where few images of a class are changed, that is too little to see. With 150 images of each of three classes it finds all, which one of the project's tests checks; of ten classes, it may miss the mode that one has lost.")

# %% [markdown]
# ## Sets whose gain is known
#
# Many sets of images are at hand. The usual generator makes some from real images at five strengths, and some from noise. Others are of an oracle that saw five times the data, of generators whose score is wrong, or filtered. The rest are copies, fresh real images, and fresh real images that were spoilt. A VAE and a GAN, trained on the same real images, make two sets each, and the generator, trained anew and stopped early, three. Four sets are of CIFAR-10, beside 5,000 real images; two of them are made by a weak generator. Trainings on CIFAR-10 are half as long as in chapter 2, so compare its gains within this chapter only.
# Not among them are the shares and orders of chapter 5, which are ways to use one set. Nor are the sets of chapters 6 and 7, whose real images are altered, and the photographs of chapter 2, of two seeds.
# A network was trained with each. The small sets of this build are shown and audited here, those that belong to its profile.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "One image per class of each set of this build; a small build's sampler takes few steps.", "name": "fig-sets"}, "image": {"alt": "A grid with a row per set of images and a column per class: reconstructions and copies look like the real images, images from noise vary, spoilt ones are blurred."}}
figures.sets(checked, get);

# %% [markdown]
# The eye can spot the spoilt sets, and those made in a small build's few steps. It says little about the rest.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gain in test accuracy with each set, over paired trainings. Hollow: the interval holds 0.", "name": "fig-gains"}, "image": {"alt": "Intervals of the gain over the real images alone, a row per set, in groups by family: copies gain nothing, fresh real images most."}}
figures.gained(everything) if "pools" in held else None;

# %% tags=["remove-input"]
told(recorded, f"Fresh real images gain {found['gain, fresh real images']} points, copies {found['gain, copies']}, images from noise "
     f"{found['gain, from noise']}.")

# %% [markdown]
# Does an audit that finds a fault foretell a loss? The recordings keep the value of each measure, not its interval or the advice. So: which values lie beyond a threshold?

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the measures of each set that lie beyond", "code_prompt_hide": "Hide these measures"}
table_html(figures.faults_table(everything), "Measures of each recorded set that lie beyond a threshold of the audit, by their values, and what it gained.") if "pools" in held else None

# %% tags=["remove-input"]
told(recorded, figures.faults_said(everything) if "pools" in held else "")

# %% [markdown]
# What the audit itself advises for the sets of this build is no judgement of the recorded ones: its samplers take few steps.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the audits of this build's sets", "code_prompt_hide": "Hide these audits"}
table_html(figures.audited(checked, get), "What the audit advises for each set of this build, whose samplers take few steps, and whether all its thresholds hold.")

# %% [markdown]
# ## What predicts the gain
#
# Each measure is taken before any network is trained. A straight line through the sets of all other families says what a set should gain; the order of what is said is compared with the order of what was gained.
# Leaving out the whole family matters: sets of one family are alike, and a line fitted to some of them says too much of the others.
# It has a price. A useless measure predicts the mean of the other families. That mean is lowest where the best family is left out, so its correlation is negative.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Measured gain of each set against what a measure says of it: the probe's gain (left), the Fr\u00e9chet distance (right).", "name": "fig-predicted"}, "image": {"alt": "Measured against predicted gain, a point per set of images, coloured by family: points scatter widely about the line, for a linear probe (left) and the Fr\u00e9chet distance (right)."}}
figures.predicted(largest) if "pools" in held else None;

# %% tags=["remove-input"]
told(recorded, f"The gain of the probe with all images added orders the sets with a rank correlation of {found['correlation, Probe, all added']}, the Fréchet distance with "
     f"{found['correlation, Fréchet distance']}; the difference is {found['over the reference']}.")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Rank correlation of what each measure predicts with the measured gains. Line: a constant. Hollow: the interval holds the line. Bars: 95 % bootstrap intervals over sets.", "name": "fig-correlations"}, "image": {"alt": "A row per measure with its rank correlation, sorted: all intervals are wide, and only that of the probe with all images added leaves out the line of a constant."}}
figures.correlations(largest) if "pools" in held else None;

# %% tags=["remove-input"]
told(recorded, "" if recorded is None else figures.ranked_said(recorded))

# %% [markdown]
# The line may be to blame, or the measure. Without a line, the order by each measure itself stands in this table, for all sets, those measured later among them, and for those that a generator made. It is exploratory. Two measures are left out, whose code changed between these runs. The probe's changed as well, for images that nearly copy held-out ones.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the correlations without a line", "code_prompt_hide": "Hide the correlations without a line"}
plain = figures.plain_correlations(everything) if "pools" in held else None
table_html(figures.plain(plain), "Rank correlation of each measure itself with the measured gains, 95 % bootstrap intervals over families of sets; below 0: the smaller, the larger the gain.") if plain else None

# %% tags=["remove-input"]
told(recorded, figures.plain_said(plain) if plain else "")

# %% [markdown]
# ### Does it hold for other generators and data?
#
# The sets of the VAE, the GAN, the generator stopped early, and CIFAR-10 were measured last, when all lines above were fitted and committed. So they test the line of the first sets, which no audit printed, as it told them apart too badly.

# %% tags=["remove-input"]
table_html(figures.foretold_table(recorded, further), "Sets measured later: what they gained, and what the line said, with 95 % limits.") if further is not None else None

# %% tags=["remove-input"]
told(further, figures.foretold_said(recorded, further, everything))

# %% [markdown]
# One published measure is missing: the *discriminative span* of {cite:t}`desai2026`. It asks whether the differences between negatives and the positives made of them span a classifier's weights. Nothing here is made of another class, and thousands of differences span all features.
#
# ## Can one choose better images?
#
# Several images are made of each real one, and one is added. It is chosen at random, or by an early network: by how unsure that is of the image, or by how well the image's gradient in its last layer agrees with that of held-out images.
# All three make and add the same numbers of images, and train as long. The two rules cost the early network on top. A gradient in the last layer is an outer product, so all of them fit into two small matrices:

# %%
network = get(chapter.early(checked, checked.first_seed, checked.early_steps)).model()


def last_layer(data):  # of each image: d loss / d output, features
    with torch.no_grad():
        features = network.features(data.floats()).flatten(1)
        p = network(data.floats()).softmax(1)
    return p - F.one_hot(data.labels, data.num_classes), features


outputs, features = last_layer(get(chapter.images(checked, "validation")))
wanted = outputs.T @ features / len(outputs)  # the mean gradient on held-out images
outputs, features = last_layer(get(chapter.pool(checked, "from noise")))
alignment = ((outputs @ wanted) * features).sum(1)  # above 0: a step on it helps them
print(f"A step on {(alignment > 0).float().mean():.0%} of the images from noise "
      f"would lower the loss on held-out images.")

# %% [markdown]
# The study has this for several images of each real one, and takes the best.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gain over the original set where one of several images of each real one is chosen.", "name": "fig-choice"}, "image": {"alt": "Three intervals of the gain in test accuracy, which overlap: images chosen at random, by gradient alignment, and by uncertainty of an early network."}}
figures.choices(largest) if "choice" in held else None;

# %% tags=["remove-input"]
told(recorded, f"Over a random choice, gradient alignment gains {found['chosen by alignment']} points, uncertainty {found['chosen by uncertainty']}.{'' if recorded is None else figures.same_cost_said(recorded)}")

# %% [markdown]
# ## Verdicts
#
# The rules stand in `data/claims.json` and were committed before the run. They are about the numbers of the recorded plan, so a smaller run resolves none of them.
# That the probe predicts better than the Fréchet distance means little here. Over the sets of that plan the distance does no better than a constant. So beating it is not yet predicting, and with lines fitted anew the difference is not told from 0.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the verdicts", "code_prompt_hide": "Hide the verdicts"}
table_html(decided(EXPERIMENT.name, recorded), "This book's claims, what decides each, and the verdict.")

# %% [markdown]
# ## Does it still run?
#
# When the book is built, the chapter is computed again at a small profile, whose numbers are of other sizes: look only at whether they are there.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show this build beside the recorded run", "code_prompt_hide": "Hide this build"}
table_html(side_by_side(figures.numbers, live, recorded), "Gains in points and rank correlations, with 95 % intervals.")

# %% [markdown]
# ## What to do with your images
#
# 1. Hold out real images that your generator has not seen, and audit: `python -m synaug audit seen synthetic --held-out unseen`.
# 2. Where a threshold is crossed, look at what it names. It is a fault of the images, but need not cost accuracy: above, fresh images with noise gain, too, and so do those of slightly wrong scores. Recorded sets within all thresholds gained, but thresholds were set so that such images pass.
# 3. Train with and without the images, paired by seed, as in [Your own images](../your-own-images). The audit names faults; no measure of this chapter takes that training's place.
# 4. If you may add only one of several images of each real one, take any, and spend what a rule would cost on a longer training. At the same cost, neither rule could be told from a random choice. Adding all of them was not compared.
#
# What the kinds of images gained, beside as many fresh real ones. All trainings had flips alone and the usual weight decay. On top of TrivialAugment, images made from real ones and images from noise lost accuracy in [chapter 2](02_targeted_augmentation).

# %% tags=["hide-input"]
table_html(figures.decisions(everything), "Should you add them? Gains in points on Fashion-MNIST unless named: the mean of the sets of a kind, and their range. Above 0: whole 95 % intervals, not adjusted.") if "pools" in held else None
