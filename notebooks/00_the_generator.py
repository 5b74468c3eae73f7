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
# # 0. The generator and how good it is
#
# The synthetic images of this book come from class-conditional diffusion models that were trained from scratch on a part of the training images.
# Each is a {term}`denoiser` under the preconditioning of {cite:t}`karras2022`: the network's input and output are scaled at each noise level, so that it always works on values of about unit size.
# If its images are bad, whatever a chapter finds about synthetic images may be the fault of this one model.
# So its samples are measured first, against real images that it has not seen. What fresh real images score is all that can be asked of a generator.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Show the parameters", "code_prompt_hide": "Hide the parameters"}
profile = None  # Size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick".
generator = None  # Name or folder of a trained generator; "fashion_mnist" if None.
n_samples = None  # Samples, and real images in each set that they are compared with; the profile's number if None.
steps = None  # Steps of the sampler; 18 if None.
solver = None  # How the reverse process is solved: "heun", "euler" or "ancestral"; "heun" if None.
seed = None  # Seed of the samples' noise; 0 if None.
encoders = None  # Features that distances are taken in: "efficientnet_lite0", "pixels", ...; these two if None.
n_judge = None  # Unseen real images that the judge is trained on; the profile's number if None.
classifier = None  # Network of the judge: "resnet8", "resnet18", ...; "resnet8" if None.
classifier_steps = None  # Optimiser steps of the judge; the profile's if None.
device = None  # Where networks run: "cpu", "cuda" or "mps"; "cpu" if None.
settings = {}  # Further parameters of synaug.chapters.generator_quality.Quality, by name, such as {"recipe": "paper"}.

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the set-up", "code_prompt_hide": "Hide the set-up"}
from synaug.chapters.generator_quality import EXPERIMENT

parameters = EXPERIMENT.read(globals())

import torch
from IPython.display import Markdown, display

from synaug.chapters import generator_quality as chapter
from synaug.chapters import generator_quality_figures as figures
from synaug.chapters.reading import drawn, runs_table, side_by_side
from synaug.chapters.tasks import real_images_of, training_record
from synaug.data import to_bytes
from synaug.diffusion.denoisers import load_denoiser
from synaug.diffusion.schedules import reverse_sigmas
from synaug.metrics import frechet_distance
from synaug.metrics.encoders import encode
from synaug.plots import idea, image_grid, table_html, theme
from synaug.run import Store
from synaug.run.results import load_recorded, recorded_run

theme()
chosen = EXPERIMENT.settings(**parameters)
get = Store().get
live = EXPERIMENT.run(**parameters)
recorded = recorded_run(live)
shown = drawn(live, recorded)
largest = live if recorded is None else recorded
found = figures.numbers(largest)
book, smaller = (figures.numbers(load_recorded(EXPERIMENT.name, "standard", variant)) for variant in (None, "fashion_mnist_2000"))
sets = {name: get(task) for name, task in chapter.sets(chosen).items()}

# %% tags=["remove-input"]
Markdown(figures.takeaways(book, smaller))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The chapter in one picture: how a sample is made, and what is asked of it.", "name": "fig-idea-0"}, "image": {"alt": "From left to right: noise and a class, the network that estimates the clean image, a sample, and two questions: does a judge see the class, and is it a copy of a real image."}}
idea(
    ["noise, and a class"],
    ["network: what would the clean image be?"],
    ["sample"],
    ["judge: is it of that class?", "nearest real image: is it a copy?"],
);

# %% [markdown]
# The sampler starts from noise and a class; what comes out is compared with what real images score.
#
# Unless another generator is named, numbers and intervals are of the recorded run of `fashion_mnist`; pictures of images and the distances to their nearest neighbours are drawn from this build. Both are of your generator if you choose one. Intervals are not adjusted for multiple comparisons.
#
# ## The generators of this book
#
# Four diffusion models are kept in `data/checkpoints`, and beside the first two a VAE and a GAN of the same images, for chapter 7.
# Chapters 0, 1, 4 and 7 use `fashion_mnist`. Chapters 2, 3, 5, 6, 7 and 8 train classifiers on fewer images, so their generator, `fashion_mnist_2000`, has seen only those.
# The third, `cifar10_5000`, is small and stands for a poor generator: chapter 1 shows how far its samples are from real images. The fourth, `cifar10_fast`, is five times as large. It learned from 40,000 images, in six minutes of a graphics card, and serves chapter 2 at the papers' scale. Chapter 6 has two more, of merged classes. Chapter 4 adds quality levels: generators that are weak on purpose.

# %% tags=["hide-input"]
table_html(
    figures.generators_table(["fashion_mnist", "fashion_mnist_2000", "cifar10_5000", "cifar10_fast"]),
    "The generators. Held-out loss: at the end of training, comparable within a data set only.",
)

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the runs behind this page", "code_prompt_hide": "Hide the runs behind this page"}
display(Markdown(figures.describe_generator(training_record(chosen.generator), real_images_of(chosen.generator).trained)))
runs_table(EXPERIMENT, live, recorded)

# %% [markdown]
# ## Samples
#
# A sample starts as noise. At each step the network estimates the clean image, and the state moves towards it, down to the next lower noise level.
# [Diffusion in ten minutes](../diffusion-in-ten-minutes) explains why. This is the whole sampler in its simplest form, Euler's; the parameter `solver` chooses the one that the chapter uses.

# %% mystnb={"figure": {"caption": "One sample per class, by the loop above.", "name": "fig-sampled-by-hand"}, "image": {"alt": "A row of samples, one per class, made by the loop in the cell: each shows a garment of the class that was asked for."}}
denoiser = load_denoiser(chosen.generator)
labels = torch.arange(min(10, denoiser.num_classes))
noise = torch.Generator().manual_seed(chosen.seed)
sigmas = reverse_sigmas(chosen.steps, chosen.steps)  # noise levels from 80 down to 0
x = sigmas[0] * torch.randn(len(labels), *denoiser.image_shape, generator=noise)
with torch.no_grad():
    for sigma, below in zip(sigmas, sigmas[1:]):
        estimate = denoiser(x, sigma, labels)  # of the clean image
        x = x + (below - sigma) * (x - estimate) / sigma  # one reverse step
image_grid([to_bytes(x.clamp(-1, 1))]);

# %% [markdown]
# The samples show the garments that were asked for; this simple loop leaves some of them speckled.
#
# All other figures use the samples of the chapter's run.
# The first samples of each class, in the order in which they were drawn. Nobody selected them.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Left: samples, one row per class that was asked for. Right: real test images of the same classes. Neither was selected.", "name": "fig-samples"}, "image": {"alt": "Two sheets of images, one row per class. The samples at the left show garments of the class that was asked for and look like the real test images at the right."}}
figures.sample_sheet(sets["samples"], sets["reference"]);

# %% [markdown]
# By eye, samples and real images are hard to tell apart at this size. The measurements below find what the eye does not.
#
# ## Does a judge see the class that was asked for?
#
# The {term}`judge` is a classifier trained on real training images that the generator has not seen.
# It errs on real images too, so two numbers are compared: its agreement with the class asked for, and its agreement with the labels of test images.
# Lower agreement on samples means that they show the wrong class, or that their class is hard to tell.
# Higher agreement means that they are more typical of their class than real images are.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "How often the judge sees the class asked for, or the label of real test images (left), and the difference (right). Bars: 95 % intervals (Wilson, Newcombe), for one judge.", "name": "fig-agreement"}, "image": {"alt": "Intervals per class. Over all classes the judge agrees with samples about as often as with real test images; the classes differ in both directions."}}
figures.agreement(*shown);

# %% tags=["remove-input"]
Markdown(f"The judge agrees with {found[figures.AGREES]} of the samples and {found[figures.AGREES_REAL]} of the real test images: a difference of "
         f"{found[figures.AGREES_MORE]} points. It differs most for the class {found[figures.EXTREME]}, by {found[figures.EXTREME_MORE]} points. That is the largest of all classes, with limits that are not adjusted for multiple comparisons.")

# %% [markdown]
# ## How far are samples from real images?
#
# The {term}`Fréchet distance` compares the means and covariances of two sets of images, in pixels or in the features of a network. Here this is EfficientNet-Lite0, a small classifier trained on ImageNet ({term}`FD-EfficientNetLite0`).
# The distance from samples to real test images is given as a multiple of the {term}`real-data baseline`.
# That baseline is the distance from {term}`fresh real` images to the same test images, with as many images in each set.
# Both distances are too large for finite sets, by about the same amount, and small sets hide more of the difference.
# So compare multiples only between runs of equal size.

# %%
encoder = chosen.encoders[0]
features = {name: encode(images.floats(), encoder) for name, images in sets.items()}
for name in ("samples", "fresh"):
    distance = frechet_distance(features["reference"], features[name])
    print(f"{name}: {distance:,.0f} ({len(features[name]):,} images of this build)")

# %% tags=["hide-input"]
table_html(figures.comparison(*shown, metrics=["frechet_distance"]), "Fréchet distance to real test images. In brackets: 95 % limits, delete-a-group jackknife: from how much the distance varies when a tenth of the images is left out.")

# %% tags=["remove-input"]
Markdown("The distance of samples, as a multiple of that of fresh real images: " + "; ".join(
    f"{text} {name.removeprefix('Fréchet multiple ')}" for name, text in found.items() if name.startswith("Fréchet multiple")) + ".")

# %% [markdown]
# Pixels see little of this difference. What separates samples from real images lies in the features of a network.
#
# ## Does it copy its training images?
#
# A {term}`near-copy` is an image that lies nearer to one of the generator's training images than 99 of 100 real test images do.
# Among other fresh real images, about 1 % are near-copies.
# But plain images, such as trousers, lie near many training images without being a copy of any. So a larger share alone does not show copying.
# The second measure is free of this: is the nearest image one of the generator's training images, or one of equally many that it never saw?
# A generator that copies nothing has no reason to prefer the former: fresh real images have it nearest in about half of the cases.

# %% tags=["hide-input"]
copying = ["near_copy_share", "trained_nearer_share"]
table_html(figures.comparison(*shown, metrics=copying), "Two measures of copying. In brackets: 95 % limits (Newcombe), in points.")

# %% tags=["hide-input"]
table_html(figures.comparison(None, load_recorded(EXPERIMENT.name, "standard", "fashion_mnist_2000"), metrics=copying), "The same for the generator of 2,000 images that most other chapters use, recorded.")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Distance to the nearest training image of the generator: share of samples, and of real test images, that lie nearer. Left of the dashed line: near-copies. Drawn from this build.", "name": "fig-neighbour-distances"}, "image": {"alt": "Cumulative distributions of the distance to the nearest training image, one panel per encoder. The curves of samples and of real test images run close together, and few images of either lie left of the dashed limit."}}
figures.neighbour_distances(chapter.neighbour_distances(chosen, get));

# %% tags=["remove-input"]
Markdown("\n".join(
    f"- Of {found[figures.IMAGES]} samples, {text} are {name.removesuffix(', samples')}; of as many fresh real images {found[name.replace('samples', 'fresh real')]}."
    for name, text in found.items() if name.startswith("near-copies") and name.endswith("samples")))

# %% [markdown]
# The pairs that lie closest together show what closeness means, for samples and for real test images. This build looks among few of either.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The images that lie closest to a training image, above it; the closest at the left. From this build.", "name": "fig-closest"}, "image": {"alt": "Rows of image pairs. The samples closest to a training image resemble it about as much as the closest real test images resemble theirs: simple shapes, not copies."}}
kinds = {"samples": "sample", "reference": "test image"}
pairs = {f"{title}\n({figures.space(encoder)})": chapter.closest_pairs(chosen, get, encoder, name)[0]
         for encoder in chosen.encoders for name, title in kinds.items()}
figures.closest_pairs(pairs);

# %% [markdown]
# In pixels the closest samples are plain shapes, and so are the closest real images. No pair is a copy.
#
# ## How it was trained
#
# The denoising loss on real images that the generator never sees, at four noise levels each, drawn as in the training.
# Chapter 4 takes the mean over five fixed noise levels, from 0.1 to 10. So its losses of the same generator differ from these.
# Where the held-out curve still falls at its right end, more training would have lowered it further.
# Where it rises, the generator has begun to fit its training images too closely.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Denoising loss during training: averaged weights (the generator) on held-out images, and current weights on training images, some mirrored or without a class.", "name": "fig-training"}, "image": {"alt": "Denoising loss against the number of images seen in training: both curves fall steeply at first and hardly move at the end."}}
figures.training_curve(largest);

# %% tags=["remove-input"]
Markdown(f"The held-out loss ends at {found[figures.LOSS]}; the lowest value noted is {found[figures.LOWEST]}.")

# %% [markdown]
# The training record beside the checkpoint has the command that trains it again, the subset, the time and the device.
#
# ## Does it still run?
#
# When the book is built, the chapter is computed again at a small profile, whose numbers are of other sizes: look only at whether they are there.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show this build beside the recorded run", "code_prompt_hide": "Hide this build"}
table_html(side_by_side(figures.numbers, live, recorded), "Headline numbers of the recorded run and of this build; in brackets 95 % limits.")

# %% [markdown]
# ## What to do
#
# - Measure your generator against fresh real images before you train on its samples. A Fréchet distance without that baseline says little.
# - Ask two questions, not one: do samples show the class asked for, and do they lie where real images lie? The answers can differ, as they do here.
# - Check for copies with images that the generator never saw. Closeness to training images alone proves nothing.
# - Keep the training record: which images a generator has seen decides what its samples may be compared with.
