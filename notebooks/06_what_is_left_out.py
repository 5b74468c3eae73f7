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
# # 6. What generated images leave out
#
# Trained on synthetic images alone, a classifier is worse than on as many real ones. This chapter asks what is missing.
# It puts five explanations to the test, each with the control that would refute it.
# They are the density of the images, the features learned from them, the loss landscape, rare events, and combinations that were never seen.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Show the parameters", "code_prompt_hide": "Hide the parameters"}
profile = None  # Size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick".
studies = None  # What of the causes is compared, some of: "mismatch", "bias", "landscape"; all if None.
generator = None  # Name or folder of a trained generator, whose training images are the real images of the causes.
generators = None  # Two generators of merged classes with minorities; the profile's, or trained within the run, if None.
n_real = None  # Images of a training set.
n_samples = None  # Images from noise of each generator whose samples are counted.
architectures = None  # Networks of the causes; the first is that of all studies.
steps = None  # Optimiser steps of each training.
seeds = None  # Paired seeds of each arm.
device = None  # Where networks run: "cpu", "cuda" or "mps"; "cpu" if None.
settings = {}  # Further parameters of the three experiments in synaug.chapters.what_is_left_out, by name.

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the set-up", "code_prompt_hide": "Hide the set-up"}
from synaug.chapters.what_is_left_out import causes, composition, rare_events

of_causes = causes.EXPERIMENT.read(globals(), rare_events.EXPERIMENT, composition.EXPERIMENT)
of_rare = rare_events.EXPERIMENT.read(globals(), causes.EXPERIMENT, composition.EXPERIMENT)
of_shapes = composition.EXPERIMENT.read(globals(), causes.EXPERIMENT, rare_events.EXPERIMENT)

import torch
from IPython.display import Markdown, display

from synaug.chapters.claims_page import conjectures
from synaug.chapters.reading import decided, drawn, runs_table, side_by_side, told
from synaug.chapters.what_is_left_out import left_out_figures as figures
from synaug.classifiers.landscape import sharpness
from synaug.classifiers.last_layer import refit_last_layer
from synaug.metrics import density_ratio_weights, effective_sample_size, two_sample_auc
from synaug.metrics.encoders import encode
from synaug.plots import idea, table_html, theme
from synaug.run import Store
from synaug.run.results import recorded_run
from synaug.statistics.proportions import subgroup_share

theme()
experiments = [module.EXPERIMENT for module in (causes, rare_events, composition)]
live = [one.run(**given) for one, given in zip(experiments, (of_causes, of_rare, of_shapes))]
recorded = [recorded_run(frame) for frame in live]
shown = [frame if stored is None else stored for frame, stored in zip(live, recorded)]
why, rare, made = shown
checked, get = causes.EXPERIMENT.settings(**of_causes), Store().get
held = why.attrs["provenance"]["parameters"]["studies"]
found = figures.numbers(*shown)
smallest, *_, largest = (name for name in found if name.startswith("made over true share at") and name.endswith("%"))

# %% tags=["remove-input"]
Markdown(figures.takeaways(shown, recorded))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The chapter in one picture: what synthetic images may lack, and the control that each question has.", "name": "fig-idea-6"}, "image": {"alt": "Five questions, each with its control: density, features, the loss landscape, rare events and unseen combinations."}}
idea(
    ["What do synthetic images lack?"],
    ["density: do they crowd?", "features: do they differ?", "loss landscape: is it sharper?", "rare events: are they lost?", "unseen combinations: are they made?"],
    ["real images that crowd as much", "last layer fitted to real images", "real images alone, at equal loss", "share corrected for the judge's errors", "a generator that has seen them"],
);

# %% [markdown]
# Each question has a control of its own, without which its answer could not be told from something else.
#
# Figures and tables show the recorded run where there is one, else this build. In brackets stand 95 % intervals over paired seeds, not corrected for multiple comparisons; verdicts are.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the runs behind this page", "code_prompt_hide": "Hide the runs behind this page"}
display(*map(runs_table, experiments, live, recorded))

# %% [markdown]
# ## The seven conjectures
#
# Seven conjectures say why synthetic images help so little. Chapter 5 has the tests of the first, the fifth and the seventh, this chapter those of the others, and of one thing more.

# %% tags=["remove-input"]
conjectures("../")

# %% [markdown]
# ## Is it their density?
#
# Synthetic images crowd where real ones are typical. If that is what costs accuracy, real images that crowd as much must cost as much.
# So *fresh real images are resampled with the density ratio* of synthetic to real ones. A classifier that is linear in features of a network and their squares says what that ratio is.
# Unequal weights make the set worth fewer images, its *effective sample size*. The control is drawn from so many random images, with equal weights.
# Another network, which had no part in this, says whether the resampled images are as far from real ones as the synthetic ones are.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error of training on each set alone, over training on as many real images. Bars: 95 % intervals.", "name": "fig-mismatch"}, "image": {"alt": "Training on real images resampled to the synthetic density errs as much as on synthetic ones, on as few random images far more, on as many distinct ones a little less."}}
figures.mismatch(why) if "mismatch" in held else None;

# %% tags=["remove-input"]
told(recorded[0], f"Synthetic images cost {found['gap']} points, concentrated real ones {found['concentrated over real']}. Once the control's loss is subtracted, as the rule has it, concentration explains {found['share that density explains']} of the gap. This is below 0 where that control loses more than the concentrated set. "
     f"Resampling synthetic images to the real density recovers {found['share that resampling recovers']}. Over as many distinct images, concentration explains {found['share that density explains, over as many distinct']}.")

# %% [markdown]
# The rule's control turned out to be a hard one: it holds fewer distinct images than the concentrated set, in which many images of small weight come once. So it loses accuracy by repetition, and the rule's share is too low. The last arm has as many distinct images, and was added after that was seen, so it is exploratory. Spreading synthetic images out repeats some of them, too, and no control takes that off.

# %% [markdown]
# The same for images of your own takes a few lines, here with two sets of this chapter:

# %%
real, synthetic = (encode(get(task).floats(), "pixels") for task in (
    causes.part(checked.generator, "fresh", checked.fresh), causes.pool(checked)))
leading = torch.linalg.eigh(torch.cov(real.T))[1][:, -4:]  # principal components
apart = two_sample_auc(real @ leading, synthetic @ leading)
print(f"told apart with AUC {apart.estimate:.2f} [{apart.low:.2f}, {apart.high:.2f}]")
weights = density_ratio_weights(real @ leading, synthetic @ leading, strength=0.1)
print(f"{len(real)} real images with the synthetic density are worth "
      f"{effective_sample_size(weights):.0f}")

# %% [markdown]
# ## Does the network learn other features?
#
# If features are as good and only the decision is off, a *last layer fitted to real images* repairs it, all else being frozen.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error of networks trained on synthetic images, over that of training on real ones: as trained, and with a new last layer. Bars: 95 % intervals.", "name": "fig-head"}, "image": {"alt": "For each network, a new last layer takes back about a third of the error that synthetic images cost, fitted to training images or to fresh ones."}}
figures.head(why) if "bias" in held else None;

# %% tags=["remove-input"]
told(recorded[0] if "bias" in held else None, f"The new last layer recovers {found['share that a new last layer recovers']} of the gap with {next(iter(figures.networks(why).values()))}, {found['share that a new last layer recovers, other networks']}. Fitted to fresh real images it recovers {found['share that a new last layer recovers, fresh images']}.")

# %% [markdown]
# Networks that err equally often may do so for different reasons. Below, test images lose their high or low frequencies, get noise or blur, or have their patches shuffled. They are compared with networks trained on *fewer real images*, so few that both err equally often on unchanged images.
# Where a network looks, by Grad-CAM, is in [chapter 1](01_mode_concentration).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Error on changed test images of networks trained on synthetic images, over that of networks trained on fewer real ones with equal accuracy. Bars: 95 % intervals.", "name": "fig-changes"}, "image": {"alt": "With ResNet-8, training on synthetic images errs more than its match under blur and less without low frequencies; VGG-5 errs more with noise, and the small transformer less without low frequencies."}}
figures.changes(why) if "bias" in held else None;

# %% tags=["remove-input"]
told(recorded[0] if "bias" in held else None, f"With noise, the difference is {found['noise at equal accuracy']} points with the first network. With low frequencies gone (high-pass) it is {found['high-pass at equal accuracy']}, with blur {found['blur at equal accuracy']}; no rule was fixed for these two. The other networks differ elsewhere, as the figure shows.")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Power of real and of synthetic images against frequency.", "name": "fig-spectrum"}, "image": {"alt": "Power falls with frequency alike for real images and images from noise, which have a little less of it at fine structure."}}
figures.spectrum(*drawn(live[0], recorded[0])) if "bias" in held else None;

# %% tags=["remove-input"]
told(recorded[0] if "bias" in held else None, f"Images from noise have {found['power of coarse structure']} times the power of real ones below {figures.FINE} cycles per pixel, {found['power of fine structure']} times above.")

# %% [markdown]
# ## Is the loss landscape different?
#
# *Sharpness*, how much the loss on real training images rises around the weights, is compared at equal loss on these. For that, real images alone are trained for fewer and for more steps as well, and sharpness is interpolated between these to equal loss. The statistics of batch normalisation are those of the real images, for all.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Sharpness with images added, over real images alone at equal loss on these. Left of 0: flatter. Bars: 95 % intervals.", "name": "fig-landscape"}, "image": {"alt": "At equal loss added images lower the largest eigenvalue and the trace, synthetic ones about as much as fresh real ones; the variance of gradients stays the same."}}
figures.landscape(why) if "landscape" in held else None;

# %% tags=["remove-input"]
told(recorded[0] if "landscape" in held else None, f"At equal loss, adding synthetic images changes the filter-normalised rise by {found['sharpness at equal loss']}, adding fresh real ones by {found['sharpness at equal loss, fresh images']}. "
     f"The logarithm of the largest eigenvalue changes by {found['log of the eigenvalue at equal loss']} and {found['log of the eigenvalue at equal loss, fresh images']}. "
     f"At equal steps it changes by {found['log of the eigenvalue at equal steps']} with synthetic images: these leave a higher loss on the real ones. "
     f"Over the seeds of each arm, the rank correlation of the filter-normalised rise with test error is {found['rank correlation of sharpness with error']}.")

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show where each training ends", "code_prompt_hide": "Hide where each training ends"}
table_html(figures.landscape_table(why), "Means over seeds, of training by SGD and by SAM. Barrier: the largest rise of loss on the line from these weights to those of training on real images.") if "landscape" in held else None

# %% [markdown]
# For a network of your own, and its real images:

# %%
arm = causes.arms("bias", checked)[0]
model = get(causes.training(checked, arm, checked.first_seed)).model()
own = get(causes.part(checked.generator, "real")).subset(range(50))
found_here = sharpness(model, own.images, own.labels, probes=1)
print(f"largest eigenvalue {found_here.largest_eigenvalue:.1f}, "
      f"filter-normalised rise {found_here.filter_normalised:.2f}")
refitted = refit_last_layer(model, own.images, own.labels)

# %% [markdown]
# ## Are rare events lost?
#
# Two classes of Fashion-MNIST at a time are merged into one superclass, in which one of them is a minority of known share. The generator knows superclasses only, so it must decide by itself how often the minority comes.
# A judge that was trained on all ten classes tells the two apart, and the share is corrected for what it confuses. A second generator has majority and minority swapped.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How often minorities are made, over how often they are among the training images. Bars: 95 % intervals, below five seeds the range.", "name": "fig-shares"}, "image": {"alt": "Corrected for the judge's confusions, made over true share is lowest at 1 per cent for both generators; as the judge says, it scatters around 1."}}
figures.shares(*drawn(live[1], recorded[1]));

# %% tags=["remove-input"]
told(recorded[1], f"On average over both generators, minorities are made {found[smallest]} times as often as they are seen at the smallest share, {found['made over true share at 1 %']} times at 1 %. Without the correction it is {found['the judge says, at 1 %']} there. "
     f"The generators differ: at the smallest share {found[smallest + ', first generator']} and {found[smallest + ', roles swapped']}, at the largest {found[largest + ', first generator']} and {found[largest + ', roles swapped']}. Each share is that of one pair of classes in each. Over all shares the logarithm of that ratio rises with that of the share, with a slope of {found['slope']}.")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Rare training images by their share (left), and the samples that a judge of this build calls rare most surely.", "name": "fig-rare"}, "image": {"alt": "Real rare images on the left, a row per share; on the right a generator's samples: where the share is largest a few are rare, elsewhere the surest ones are of the majority."}}
figures.rare_pictures(rare_events.EXPERIMENT.settings(**of_rare), get);

# %% [markdown]
# What is rare looks like any other garment. A small build has too few samples, and too weak a judge, to show more than a few rare ones.
#
# What helps a classifier with them? Each rare image is repeated, reconstructed, joined by images of its class from a generator that knows the class, or by fresh real ones.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error on minorities with four images added for each rare one, less that without. Bars: 95 % intervals.", "name": "fig-treatments"}, "image": {"alt": "Everything that is added lowers the error on minorities: fresh real images most, then those of an oracle, then repeats, and reconstructions least."}}
figures.treatments(rare);

# %% tags=["remove-input"]
told(recorded[1], f"Against repeats, reconstructions change the accuracy on minorities by {found['reconstructed over repeated']} points. Against none, fresh images gain {found['gain on minorities, fresh']}, those of an oracle {found['gain on minorities, from noise, oracle']}.")

# %% [markdown]
# A share of your own, seen through a judge that errs:

# %%
share = subgroup_share(41, 1000, hits=190, positives=200,
                       false_alarms=24, negatives=800)
print(f"a share of {share.estimate:.1%} [{share.low:.1%}, {share.high:.1%}]")

# %% [markdown]
# ## Are unseen combinations made?
#
# Small pictures of four shapes in four colours are drawn by a program, and each shape lacks one colour. A generator that is asked for shapes may still make the missing combinations, and a classifier may profit.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error on held-out combinations and on others, over that of real images without the former. Bars: 95 % intervals.", "name": "fig-composition"}, "image": {"alt": "On held-out combinations only images of a generator that has seen them, and real ones of all, lower the error; on the others synthetic images alone err far more."}}
figures.composition(made);

# %% tags=["remove-input"]
told(recorded[2], f"A generator that has not seen them makes them {found['made over true share of unseen combinations']} times as often as they occur among real images of all combinations, one that has seen them {found['the same, by a generator that has seen all']} times. "
     f"Added to real images, images of the first change accuracy on these combinations by {found['gain on unseen combinations']} points, and those of the second by {found['gain on unseen combinations, oracle']}.")

# %% [markdown]
# ## Verdicts
#
# The rules stand in `data/claims.json`, and were fixed before any run of theirs. They are about the numbers of images of the recorded plan, so a smaller run resolves none of them.
# Holm's correction runs over the primary contrasts of all three experiments; claims that are called secondary have none.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the verdicts", "code_prompt_hide": "Hide the verdicts"}
for experiment, stored in zip(experiments, recorded):
    display(table_html(decided(experiment.name, stored, recorded), f"Claims about {experiment.name.replace('_', ' ')}, what decides each, and the verdict."))

# %% [markdown]
# ## What these numbers do not say
#
# - One generator for the causes, two for rare events, all small; intervals cover draws of images and trainings, not generators.
# - A density ratio is what a classifier sees in means and spreads of 64 components of one network's features; what it does not see, it does not resample.
# - The generators of shapes are small and trained for minutes. A classifier that sees their images alone errs often on the combinations that they have seen, too (figure above), so a better one may do better on the others.
# - The judge's confusions are those on real images. If it errs otherwise on generated ones, the correction is off.
# - All judges' false alarms are counted on the same 1,000 test images of each class. That error is not in the intervals; at 1 % it is larger than they are, and without the correction the ratio is nearer to 1.
# - Upsampling has no arm of its own in the landscape: repeating all images alike is the same training.
#
# ## Does it still run?

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show this build beside the recorded run", "code_prompt_hide": "Hide this build"}
table_html(side_by_side(lambda frames: figures.numbers(*frames), live, shown if any(frame is not None for frame in recorded) else None), "Numbers of this chapter, with 95 % intervals.")

# %% [markdown]
# ## What to do with your data
#
# Each row is computed from a recorded run: "open" where its interval allows both.

# %% tags=["hide-input"]
table_html(figures.what_to_do(shown, recorded), "Questions, what was measured, and what follows.")
