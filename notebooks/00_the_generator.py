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
# # The generator and how good it is
#
# Every synthetic image in this book comes from one diffusion model: a class-conditional {term}`denoiser` under the preconditioning of {cite:t}`karras2022`, trained from scratch on a part of the training images.
# What a chapter finds about synthetic images can be blamed on this model if its images are bad.
# So its samples are measured first, each time against real images that it has not seen, because what fresh real images score is all that can be asked of a generator.

# %% tags=["parameters"]
profile = None  # size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick"
generator = None  # name or folder of a trained generator; None: "fashion_mnist"
n_samples = None  # number of samples, and of real images in each set that they are compared with; None: the profile's
steps = None  # number of steps of the sampler; None: 18
solver = None  # how the reverse process is solved: "heun", "euler" or "ancestral"; None: "heun"
seed = None  # seed of the samples' noise; None: 0
encoders = None  # features that distances are taken in: "efficientnet_lite0", "pixels", ...; None: these two
n_searched = None  # training images among which nearest neighbours are searched in features; None: the profile's number
n_judge = None  # unseen real images that the judge is trained on; None: the profile's number
classifier = None  # network of the judge: "resnet8", "resnet18", ...; None: "resnet8"
classifier_steps = None  # optimiser steps of the judge; None: the profile's
device = None  # where networks run: "cpu", "cuda" or "mps"; None: "cpu"
settings = {}  # any further parameters by name, such as {"recipe": "paper"}

# %% tags=["hide-input"]
from synaug.chapters.generator_quality import EXPERIMENT

parameters = EXPERIMENT.read(globals())

# %% tags=["remove-cell"]
from IPython.display import Markdown

from synaug.chapters import generator_quality as chapter
from synaug.chapters import generator_quality_figures as figures
from synaug.chapters.tasks import real_images_of
from synaug.plots import table_html, theme
from synaug.run import Store
from synaug.run.results import recorded_run

theme()
chosen = EXPERIMENT.settings(**parameters)
get = Store().get
live = EXPERIMENT.run(**parameters)
recorded = recorded_run(live)
sets = {name: get(task) for name, task in chapter.sets(chosen).items()}

# %% tags=["hide-input"]
Markdown(figures.describe_generator(chapter.training_record(chosen.generator), real_images_of(chosen.generator).trained) + "\n" + figures.describe(live, recorded))

# %% [markdown]
# ## Samples
#
# The first samples of each class, in the order in which they were drawn.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Left: samples, a row per class that was asked for. Right: real test images of the same classes. Neither was selected.", "name": "fig-samples"}, "image": {"alt": "Two sheets side by side with one row of images for each class: samples of the generator at the left, real test images at the right."}}
figures.sample_sheet(sets["samples"], sets["reference"]);

# %% [markdown]
# ## Does a judge see the class that was asked for?
#
# The {term}`judge` is a classifier trained on real training images that the generator has not seen.
# It errs on real images too, so its agreement with the class asked for is read against its agreement with the labels of test images.
# Agreement below that on real images means samples of the wrong class, or hard to tell; agreement above it means samples that are more typical of their class than real images are.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Left: how often the judge sees the class that was asked for, and the label of real test images. Right: the difference. Bars: 95 % score intervals (Wilson; of differences Newcombe), for this one judge.", "name": "fig-agreement"}, "image": {"alt": "For each class and all together: the judge's agreement on samples and on real test images with intervals, and the difference between the two."}}
figures.agreement(live, recorded);

# %% tags=["hide-input"]
table_html(figures.comparison(live, recorded, ["judge_agreement"]))

# %% [markdown]
# ## How far are samples from real images?
#
# The {term}`Fréchet distance` from samples to real test images is given as a multiple of the {term}`real-data baseline`: the same distance from {term}`fresh real` images to the same test images, with as many images in each set.
# Both are too large for finite sets, by about the same amount, and the fewer the images the more of the difference this hides: compare multiples only between runs of equal size.
# In brackets: 95 % limits by a delete-a-group jackknife.

# %% tags=["hide-input"]
table_html(figures.comparison(live, recorded, ["frechet_distance"]))

# %% [markdown]
# ## Does it copy its training images?
#
# A *near-copy* is an image that lies nearer to one of the generator's training images than 99 of 100 real test images do; among other fresh real images about 1 % are such.
# But smooth and typical images lie near everything, so a larger share alone does not show copying.
# The second measure is free of this: is the nearest image one of the generator's training images, or one of equally many that it never saw?
# A generator that copies nothing has no reason to prefer the former, and fresh real images have it nearest in about half of the cases.

# %% tags=["hide-input"]
table_html(figures.comparison(live, recorded, ["near_copy_share", "trained_nearer_share"]))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Distance to the nearest of the generator's training images: the share of samples, and of real test images, that lie nearer than that. The dashed line is the first percentile of the test images. Live run.", "name": "fig-neighbour-distances"}, "image": {"alt": "Cumulative distributions of the distance to the nearest training image, for samples and for real test images, one panel for each encoder."}}
figures.neighbour_distances(chapter.neighbour_distances(chosen, get));

# %% [markdown]
# The pairs that lie closest together, for samples and, to show what closeness means among real images, for test images.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The images that lie closest to a training image, above it; the closest at the left. Live run.", "name": "fig-closest"}, "image": {"alt": "Rows of image pairs: the samples, and the real test images, that lie closest to a training image, each above that training image."}}
kinds = {"samples": "sample", "reference": "test image"}
pairs = {f"{title}\n({figures.space(encoder)})": chapter.closest_pairs(chosen, get, encoder, name)[0]
         for encoder in chosen.encoders for name, title in kinds.items()}
figures.closest_pairs(pairs);

# %% [markdown]
# ## How it was trained
#
# The denoising loss on real images that the generator never sees, at four noise levels each, as training went on.
# Where the held-out curve still falls at its right end, more training would have lowered it further; where it rises, the generator has begun to fit its training images too closely.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Denoising loss as noted during training: of the averaged weights, which are the generator, on held-out images; and of the current weights on training images, a part of them mirrored or without a class.", "name": "fig-training"}, "image": {"alt": "Denoising loss on held-out and on training images against the number of images seen in training."}}
figures.training_curve(live);

# %% [markdown]
# The training record beside the checkpoint in `data/checkpoints` has the command that trains it again, the subset, the time and the device.
