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
# # Mode concentration against reverse steps
#
# Take a real image, add noise until some or all of it is gone, and let a diffusion model bring it back.
# The less is left to the model, the closer the result is to a real image; if all is left to it, the result is a synthetic image like any other.
# The model is told the class of the image, which the reconstruction keeps. At the last step it starts from noise alone, as in the paper, and nothing but the class is left of the source.
# {cite:t}`yamaguchi2024` calls this *real sample reconstruction* and uses it to ask what changes on the way from real to synthetic: synthetic samples, the paper says, concentrate near the modes of the data, leave its outer edges bare, are easier to classify than real images, and train worse classifiers.
#
# This chapter measures each of these claims on real images.
# The noise level σ at which the way back begins is the horizontal axis; the paper's count of reverse steps, `t_re` of 100, stands above it.
# The operation itself is older and has several names: SDEdit {cite:p}`meng2022`, Boomerang {cite:p}`luzi2024`, forward-backward experiments {cite:p}`sclocchi2025`.

# %% tags=["parameters"]
profile = None  # size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick"
generator = None  # name or folder of a trained generator; None: the profile's
reverse_steps = None  # levels t_re, from 0 (real) to steps (synthetic); None: the profile's
stride = None  # take every stride-th level of the reverse grid; None: the profile's
n_images = None  # number of training images that are reconstructed; None: the profile's
seeds = None  # number of classifiers per level; None: the profile's
classifier = None  # network: "resnet8", "resnet18", ...; None: the profile's
classifier_steps = None  # optimiser steps, the same at every level; None: the profile's
encoders = None  # features that distances are taken in: "efficientnet_lite0", "judge", "pixels", ...; None: the first two
k = None  # number of neighbours in precision, recall, density and coverage; None: 5
device = None  # where networks run: "cpu", "cuda" or "mps"; None: "cpu"
settings = {}  # any further parameters by name, such as {"churn": 10}; all are listed in synaug.chapters.mode_concentration

# %% tags=["hide-input"]
from synaug.chapters.mode_concentration import EXPERIMENT

parameters = EXPERIMENT.read(globals())

# %% tags=["remove-cell"]
from IPython.display import Markdown

from synaug.chapters import mode_concentration as chapter
from synaug.chapters import mode_concentration_figures as figures
from synaug.diffusion.schedules import sigma_of_reverse_step
from synaug.plots import T_RE, slider, table_html, theme
from synaug.run import Store
from synaug.run.results import recorded_run
from synaug.statistics.claims import verdict_table

theme()
chosen = EXPERIMENT.settings(**parameters)
get = Store().get
live = EXPERIMENT.run(**parameters)
recorded = recorded_run(live)
levels = chosen.reverse_steps

# %% tags=["hide-input"]
Markdown(chapter.describe(live, recorded))

# %% [markdown]
# ## From real to synthetic
#
# Three images of each class, one class a column, reconstructed from ever higher noise.
# The noise added to an image is the same at every level, only scaled: what changes from stop to stop is how much of the image the model has to invent.
# Drag the slider, or focus it and use the arrow keys.

# %% tags=["hide-input"]
names = ", ".join(get(chapter.pool(chosen, 0)).class_names[: chapter.SHOWN_CLASSES])
slider(
    chapter.shown_images(chosen, get, levels),
    [f"{T_RE} = {level}, σ = {sigma_of_reverse_step(level, chosen.steps, chosen.mapping):.3g}" for level in levels],
    f"Reconstructions of three real images of each class ({names})",
)

# %% [markdown]
# ## Distances, and the reference they are taken from
#
# The paper's Fréchet distance starts at 0 and its precision and recall at 1, because at `t_re = 0` the images are compared with themselves: the reference is the set of *source* images.
# A generator is not meant to return its training images, so the honest reference is a set of *fresh* real images, which neither the generator nor any classifier here has seen.
# Against it, the untouched source images reach the *floor*, the value at σ = 0 of the fresh curve: what one set of real images scores against another.
# Nothing can be asked of a generator beyond it.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Fr\u00e9chet distance of reconstructions. Left: in this book's features, against the source images (as in the paper) and against fresh real images; the fresh curve begins at the floor, what real images have among themselves. Right: the same against the sources, and the paper's FID, each as a share of its value at the last level; the units of the two are not comparable, their shapes are. Bars: 95 % intervals over images.", "name": "fig-distance"}, "image": {"alt": "Two panels of Fr\u00e9chet distance against noise level. Left, in EfficientNet-Lite0 features with two references. Right, relative to the last level, beside the published FID."}}
figures.distances(live, recorded);

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Precision and recall with the two references, and the paper's (CIFAR-10). At \u03c3 = 0 the source reference gives 1 by construction; the fresh reference gives the floor. Bars: 95 % intervals over images.", "name": "fig-precision-recall"}, "image": {"alt": "Two panels, precision and recall against noise level, with source images and fresh real images as reference and the published points."}}
figures.precision_recall(live, recorded);

# %% [markdown]
# Precision is the share of reconstructions that fall where real images are; recall is the share of real images that have reconstructions around them {cite:p}`kynkaanniemi2019`.
# It is recall that speaks of coverage.
# The paper does not name its encoder or its number of neighbours (the code of {cite:t}`kynkaanniemi2019` takes 3, and VGG-16); here they are EfficientNet-Lite0 and `k`, so its levels cannot be compared with these, and its falls only roughly.
#
# Density and coverage {cite:p}`naeem2020` ask the same two questions less sensitively to outliers.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Density and coverage, with both references. The floor is the fresh curve at \u03c3 = 0; density is not bounded by 1. Bars: 95 % intervals over images.", "name": "fig-density-coverage"}, "image": {"alt": "Two panels, density and coverage against noise level, with source images and fresh real images as reference."}}
figures.density_coverage(live, recorded);

# %% [markdown]
# Distance, precision and recall once more, in the features of the {term}`judge`, here a classifier trained on the real source images:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Fr\u00e9chet distance in the features of the real-trained judge instead of EfficientNet-Lite0's. Its units are its own; compare the shapes. It has been fitted to the source images, so fresh real images lie at some distance from them even at \u03c3 = 0.", "name": "fig-distance-judge"}, "image": {"alt": "Two panels of Fr\u00e9chet distance in the judge's features against noise level: with two references, and relative to the last level beside the published FID."}}
figures.distances(live, recorded, encoder="judge") if "judge" in chosen.encoders else None;

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Precision and recall in the features of the real-trained judge instead of EfficientNet-Lite0's. Compare the fall, not the level: a conclusion should survive the change of encoder.", "name": "fig-precision-recall-judge"}, "image": {"alt": "Two panels, precision and recall in the judge's features against noise level, with two references."}}
figures.precision_recall(live, recorded, encoder="judge") if "judge" in chosen.encoders else None;

# %% [markdown]
# ## Concentration, measured directly
#
# Three indices, all against fresh real images.
# *Outer-edge recall* is recall restricted to the tenth of the fresh images that lie where real data are thinnest.
# The *centroid distance ratio* asks how far images are from the centre of their class, relative to fresh real images; below 1 they are nearer.
# The *covariance log-determinant* compares the volume that a class fills; negative is smaller.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Three indices of concentration in EfficientNet-Lite0 features. The value at \u03c3 = 0 is the floor: what source images themselves have against fresh real images. Bars: 95 % intervals over images.", "name": "fig-concentration"}, "image": {"alt": "Three panels against noise level: outer-edge recall, distance to the class centroid relative to real images, and difference of covariance log-determinants."}}
figures.concentration(live, recorded);

# %% [markdown]
# ## What classifiers learn from reconstructions
#
# At each level a classifier is trained on the reconstructions alone, always with the same number of optimiser steps, and scored on real test images.
# A seed fixes the initial weights and the order of the batches, so that the levels of one seed differ in their images only.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test accuracy of classifiers trained on reconstructions. Left: as measured. Right: the change from training on real images, paired by seed. The data sets differ (Fashion-MNIST here, CIFAR-10 in the paper), so compare the falls. Bars: 95 % t intervals over seeds, or the range where a run has fewer than five; the classifiers of a level see the same reconstructions, so bars do not include another draw of noise or another generator. The paper's bars are those of its accuracies, as printed there.", "name": "fig-accuracy"}, "image": {"alt": "Two panels against noise level: test accuracy of classifiers trained on reconstructions, and its change from real training images, with the published CIFAR-10 points."}}
figures.accuracies(live, recorded);

# %% [markdown]
# The same change in every recorded run of this chapter, of whatever images, generator and classifier; in the table also precision and recall of the last level's images, in the features of EfficientNet-Lite0 and with their sources as reference, where the sources themselves have 1.
# The run called `cifar10_5000` is a scaled-down one: its generator is small and has seen no more than 5,000 images, so that it stands for a poor one.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Change of test accuracy from real training images in all recorded runs of this chapter, and in the paper. Bars: 95 % t intervals over seeds, or the range where a run has fewer than five; the paper's as printed there.", "name": "fig-falls"}, "image": {"alt": "Change of test accuracy against noise level, one curve for each recorded run, with the published points."}}
runs = chapter.recorded_runs(live)
figures.falls(runs) if runs else None;

# %% tags=["hide-input"]
table_html(chapter.falls_table(runs)) if runs else None

# %% [markdown]
# ## Are synthetic images easier?
#
# The judge looks at reconstructions of images it was trained on, and of test images it was not.
# The paper plots the entropy of such a judge's output.
# Most of its values exceed ln 10, which the mean entropy over ten classes cannot (eq. 4 there, in nats), so only their shape is compared.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "First: output entropy as the paper plots it; the dash-dotted line is the largest possible value of the formula it gives. Second and third: entropy and accuracy of this book's judge on reconstructions of train and of test images. Bars: 95 % intervals over images.", "name": "fig-entropy"}, "image": {"alt": "Three panels against noise level: published output entropy, output entropy of our judge in nats, accuracy of our judge in per cent, for reconstructions of train and test images."}}
figures.entropies(live, recorded);

# %% [markdown]
# ## In the plane of the judge's features
#
# The first two principal components of the judge's features, fitted on the real source images only; everything else is projected.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The judge's features of real images (first) and of reconstructions, in the plane of the real images' first two principal components; at most 50 images a class, this build. If samples concentrate, the clouds shrink towards their centres from panel to panel.", "name": "fig-pca"}, "image": {"alt": "Scatter plots of two principal components of the judge's features, coloured by class: real images and reconstructions from rising reverse steps."}}
shown = sorted({levels[0], levels[len(levels) // 2], levels[-1]})
figures.pca_plane(chapter.plane_points(chosen, get, shown));

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Within-class variance in that plane over that of fresh real images. Below 1, the class clouds are tighter than those of real images that the judge has not seen; at \u03c3 = 0 stand the images it was trained on. Bars: 95 % intervals over images.", "name": "fig-pca-variance"}, "image": {"alt": "Within-class variance in the plane of two principal components relative to real images, against noise level."}}
figures.plane_variance(live, recorded);

# %% [markdown]
# ## Where classifiers look
#
# Grad-CAM {cite:p}`selvaraju2017` on real test images, for the true class, of classifiers trained at each level.
# Maps of two networks differ even when both are trained on the same images; so the agreement at each level is read against the agreement between two seeds at `t_re = 0`.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Grad-CAM maps (bright: used) of classifiers trained on real images (t_re = 0) up to fully synthetic ones, for the first test images; this build, first seed.", "name": "fig-attention"}, "image": {"alt": "A grid of test images overlaid with Grad-CAM maps, one row an image and one column a level of the classifier's training images."}}
rows = min(5, chosen.n_maps)
maps = [get(chapter.maps(chosen, level, 0))[:rows] for level in levels]
figures.attention_maps(get(chapter.real(chosen, "test", chosen.n_evaluate)).images[:rows], maps, levels);

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Correlation of Grad-CAM maps between a classifier trained at each level and another seed's trained on real images. The value at \u03c3 = 0 is what two seeds on the same real images share. Bars as for accuracy; the pairs share classifiers, so they are somewhat too narrow, and of two seeds the value at \u03c3 = 0 is one pair.", "name": "fig-attention-agreement"}, "image": {"alt": "Correlation of Grad-CAM maps with those of a real-trained classifier of another seed, against noise level."}}
figures.attention_agreement(live, recorded);

# %% [markdown]
# ## Verdicts
#
# Each rule was written down before the run that decides it, in `data/claims.json`; verdicts are taken on the recorded run or, where there is none, on this build.
# *Reproduced*: the direction holds with its whole interval, and the size where the paper's can be compared. *Shape only*: the direction holds, the size differs or cannot be compared. *Contradicted*: the interval lies on the other side, or shows no difference worth the name. *Not resolved at this scale*: none of these.

# %% tags=["hide-input"]
verdicts = verdict_table(live if recorded is None else recorded)
table_html(verdicts[["statement", "statistic", "published", "verdict", "evidence"]])

# %% [markdown]
# ## What differs from the paper, and what the paper leaves open
#
# - *Scale.* The paper uses CIFAR-10, the published EDM of 56 million parameters and ResNet-18. In the committed runs: Fashion-MNIST, a small generator trained from scratch on a part of its training images (see the chapter before), a small residual network, trained for a fixed number of steps under a one-cycle schedule where the paper takes 100 epochs of stepped SGD.
# - *From step to noise level.* The paper writes its algorithm in DDPM's notation but runs EDM, and does not say which σ a reverse step has. EDM's own grid of 100 fits its curves: precision and recall stay at 1 or just below up to `t_re = 30`, and all three curves hardly move from 70 on. The other reading (`mapping = "vp"`) can be chosen in the parameters cell.
# - *Sampler.* Deterministic Heun steps on every `stride`-th level of that grid; the paper does not say whether its steps are stochastic (`churn`).
# - *Reference.* The paper does not name it; a distance of 0 at `t_re = 0` means the sources themselves. Both references are shown.
# - *Labels.* The paper does not say whether the class of the source is passed on to the model; here it is.
# - *Entropy.* Most published values exceed ln 10. The text calls them marginal entropy, the formula is the mean conditional entropy, which is what is computed here.
# - *Steps.* Classifiers at all levels take the same number of optimiser steps; the paper's table does too if its sets have equal size, as its algorithm implies.
# - *Mechanism.* The paper explains concentration by reverse steps that climb the log-density. An exact reverse process preserves the distribution at every noise level, so this cannot be the whole reason; what the model's error and the discretisation contribute is a question for a chapter of its own.
# - *Accuracy on CIFAR-100.* The paper's 86.7 % for real images is far above what a ResNet-18 trained from scratch at 32 × 32 usually reaches, so something unstated, perhaps pre-training or larger inputs, is in it; only falls should be compared.
# - *Augmentation.* The paper's tables 3 and 4 give the same experiment (Aircraft, three synthetic images for each real one) as 64.68 and as 64.78 %, and its text says both that more than three times and that at least five times as many synthetic images suffice.
