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
# # 5. How much, how mixed: what a synthetic image is worth
#
# Whoever has a generator asks three things first: how many of its images are worth one new real image, which share of a batch they may take, and in which order they should come.
# This chapter answers them for small images, and has functions to ask them of yours.
# [Seven conjectures](06_what_is_left_out) say why synthetic images help so little; this chapter tests three. The first says that synthetic images repeat what the real ones hold, the fifth that the capacity of the model limits their gains, the seventh that ratio and order matter.

# %% mystnb={"code_prompt_hide": "Hide the parameters", "code_prompt_show": "Show the parameters"} tags=["parameters", "hide-input"]
profile = None  # Size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick".
studies = None  # What is compared, some of: "exchange", "ratio", "order", "scaling"; all if None.
generator = None  # Name or folder of a trained generator, whose training images are the real images.
oracle = None  # Name or folder of a generator that has seen more images, the real ones among them; "none" for none.
n_real = None  # Real images of a training set.
added = None  # Images from noise that are added.
fresh = None  # Fresh real images that are added: the ruler.
shares = None  # Shares of synthetic images in a batch.
steps = None  # Optimiser steps of each training.
seeds = None  # Paired seeds of each arm.
device = None  # Where networks run: "cpu", "cuda" or "mps"; "cpu" if None.
settings = {}  # Further parameters of synaug.chapters.how_much_and_how_mixed.Mixing, by name.

# %% mystnb={"code_prompt_hide": "Hide the set-up", "code_prompt_show": "Show the set-up"} tags=["hide-input"]
from synaug.chapters.how_much_and_how_mixed import EXPERIMENT

parameters = EXPERIMENT.read(globals())

from collections import defaultdict

import torch
from IPython.display import Markdown
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, DataLoader

from synaug.augmentation import MixedBatches
from synaug.augmentation.mixed_batches import share_schedule
from synaug.chapters import how_much_and_how_mixed as chapter
from synaug.chapters import how_much_and_how_mixed_figures as figures
from synaug.chapters.reading import decided, drawn, runs_table, side_by_side, told
from synaug.classifiers import build_classifier
from synaug.data.torch_datasets import TorchImages
from synaug.plots import finish, idea, panels, table_html, theme
from synaug.run import Store
from synaug.run.results import recorded_run
from synaug.statistics.exchange import exchange_rate

theme()
live = EXPERIMENT.run(**parameters)
recorded = recorded_run(live)
shown = drawn(live, recorded)
largest = live if recorded is None else recorded
checked, get = EXPERIMENT.settings(**parameters), Store().get
found = defaultdict(lambda: "not measured", figures.numbers(largest))
sizes = largest.attrs["provenance"]["parameters"]
held = sizes["studies"]
n, many = f"{sizes['compared']:,}", f"{sizes['added'][-1]:,}"

# %% tags=["remove-input"]
Markdown(figures.takeaways(largest, recorded))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The chapter in one picture: what is varied when synthetic images join real ones.", "name": "fig-idea-5"}, "image": {"alt": "Between a set of real and synthetic images and the accuracy on the same test images stand four questions: how many, which share, which order, which network."}}
idea(
    ["real images and synthetic ones"],
    ["how many?", "which share?", "which order?", "which network?"],
    ["accuracy on the same test images"],
);

# %% [markdown]
# One thing is varied at a time, and the test images stay the same.
#
# Figures and tables show the recorded run where there is one, else this build. In brackets stand 95 % intervals over paired seeds.

# %% mystnb={"code_prompt_hide": "Hide the runs behind this page", "code_prompt_show": "Show the runs behind this page"} tags=["hide-cell"]
runs_table(EXPERIMENT, live, recorded)

# %% [markdown]
# ## How it is measured
#
# - A *seed* is a draw and a training: it draws the images that are added (and the real ones, where fewer than all are used), the initial weights and the order of batches. All arms of a seed are paired.
# - *Fresh* images are real, and neither the generator nor the classifier has seen them; the oracle has seen about one in six. Images *from noise* are sampled by class. *Reconstructed* ones are real images that were noised and denoised. The *pool* is what batches are drawn from.
# - All trainings take the same number of optimiser steps. With too few steps a gain can vanish, so steps are not shortened in what is recorded.
# - The generator has seen the real images of the training set and no others. The *oracle* has seen five times as many in the recorded plan, these among them.
# - With fewer real images than the generator has seen, it brings in others; with more, the oracle takes its place. So rates at different numbers of real images form no trend.
# - Rules, margins and seeds of the verdicts were committed before the recording. What was known before, from other seeds and other images of the same generators ([chapter 2](02_targeted_augmentation)), is exploratory.
#
# ## What a synthetic image is worth
#
# Fresh real images are the *ruler*: how many of them gain as much as so many synthetic ones? The number of synthetic images per fresh one is the *exchange rate*. Below 1, synthetic images would be better than real ones.

# %% mystnb={"figure": {"caption": "Gain in test accuracy against images added to the real ones, a curve per source. Bars: 95 % t intervals, below five seeds the range.", "name": "fig-exchange"}, "image": {"alt": "Gain against the number of images added: fresh real images gain most at every number, an oracle's less, images from noise less still, reconstructions least."}} tags=["hide-input"]
figures.exchange(*shown) if "exchange" in held else None;

# %% tags=["remove-input"]
told(recorded, f"{n} fresh real images gain {found[f'{n} fresh real images']} points. As many from noise gain {found[f'{n} from noise']}, "
     f"of the oracle {found[f'{n} from noise, oracle generator']}, and reconstructed ones {found[f'{n} reconstructed']}.")

# %% [markdown]
# The rate comes from a monotone curve through the ruler's means, and its interval from resampled seeds. Where a gain lies beyond the ruler, the table says "at most"; where it is not told from 0, "at least"; where there is none, there is no rate.

# %% tags=["hide-input"]
table_html(figures.rates(largest), "Synthetic images worth one fresh real image. Brackets: 95 % bootstrap intervals; of three seeds, the range over resamples.") if recorded is not None and "exchange" in held else None

# %% tags=["remove-input"]
told(recorded, f"{many} in place of {sizes['added'][0]:,} images from noise gain {found['more']} points more. Only {sizes['distinct']:,} distinct ones, "
     f"repeated to {n}, change accuracy by {found['repeated']}; {n} distinct ones gain {found['distinct']} over these. {figures.beside_others(largest)}")

# %% [markdown]
# ## Which share
#
# Share and pool are two things: with a pool of fixed size, each batch takes a share of synthetic images. At a fixed total, synthetic images take the place of real ones.

# %% mystnb={"figure": {"caption": "Gain against the share of synthetic images: of each batch, from a pool of fixed size, or of a set of fixed size. Bars as above.", "name": "fig-ratio"}, "image": {"alt": "Gain against the share of synthetic images: beside all real images they gain at every share, most at a half; in place of real images they only lose."}} tags=["hide-input"]
figures.ratio(*shown) if "ratio" in held else None;

# %% tags=["remove-input"]
told(recorded, f"With a pool of {sizes['pool']:,} images, the best of the shares tried, 0 among them, is {found['best share']}, with 95 % bootstrap limits over seeds, which can only be shares that were tried. It gains {found['best share over its neighbours']}. "
     "In place of real images they change accuracy by " + ", ".join(f"{found[f'replaced, {share:g}']} at a share of {share:g}" for share in sizes["replaced"]) + ".")

# %% [markdown]
# ## Which order
#
# An order is a schedule of shares. All have the same mean.

# %% mystnb={"figure": {"caption": "The share of added (synthetic or fresh) images in each batch of a training, in four orders of equal mean.", "name": "fig-schedules"}, "image": {"alt": "Share against steps: constant for mixed, one and then zero for added first, zero and then one for original first, and a straight line from nine tenths to one tenth for a falling share."}}
figure, (ax,) = panels(1)
orders = {name: ax.plot(share_schedule(order, 0.5, steps=100))[0]
          for order, name in figures.ORDERED.items()}
ax.set(xlabel="step, of 100", ylabel="share of added images")
finish(figure, orders);

# %% [markdown]
# Half of all images seen are added ones in every order; only when they are seen differs.
#
# Every order is run again with fresh real images in the synthetic ones' place. This removes the effect of the learning rate, but not that of the size of the set. The fresh images are more than the original ones, and each is seen less often: ending on the originals also means ending on a small, repeated set.

# %% mystnb={"figure": {"caption": "Gain of each order at the same mean share, and of the same order of fresh real images.", "name": "fig-order"}, "image": {"alt": "Intervals of the gain in four orders: every order gains, an even mix as much as any, both for images from noise and for fresh real ones."}} tags=["hide-input"]
figures.order(largest) if "order" in held else None;

# %% tags=["remove-input"]
told(recorded, f"Synthetic images first rather than an even mix change accuracy by {found['synthetic first, less mixed']} points, a falling share by {found['falling share, less mixed']}. "
     f"Synthetic first rather than real first: {found['synthetic first, less real first']}; with fresh images in their place {found['fresh first, less original first']}. "
     f"The difference of these two, {found['end on real']}, is what the verdict tests; for a falling share it is {found['falling']}. "
     "A difference above 0 does not say that the order helps: it may only harm less than with fresh images.")

# %% [markdown]
# ## Larger networks
#
# If capacity limits what is learned from synthetic images, a wider network gains more from more of them.

# %% mystnb={"figure": {"caption": "Gain against images added by the width of the network: from noise (left), fresh real images (right). Bars as above.", "name": "fig-width"}, "image": {"alt": "Two panels of gain against images added, from noise and fresh: the curves of the three widths of the network nearly coincide."}} tags=["hide-input"]
figures.scaling(*shown) if "scaling" in held else None;

# %% tags=["remove-input"]
told(recorded, f"What {many} images from noise gain over {sizes['added'][0]:,} differs between the widest and the narrowest network by {found['wider']} points.")

# %% [markdown]
# ## In a training loop of your own
#
# `MixedBatches` draws batches with a share of synthetic images from any two torch data sets. It is a batch sampler, so the loop stays as it is.

# %%
real = TorchImages(get(chapter.images(checked, checked.n_real, "real")))
synthetic = TorchImages(get(chapter.pool(checked, "from noise", checked.n_real)))
batches = MixedBatches(real, synthetic, steps=20, share=0.5, order="synthetic_first",
                       batch_size=64, seed=0)
model = build_classifier(checked.architecture, real.data.image_shape, len(real.classes),
                         seed=0)
optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
both = ConcatDataset([real, synthetic])
for images, labels in DataLoader(both, batch_sampler=batches):
    loss = F.cross_entropy(model(2 * images - 1), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.2f} after the first of {len(losses)} steps, "
      f"{losses[-1]:.2f} after the last, which saw real images only")

# %% [markdown]
# `exchange_rate` takes your own gains, here made-up ones of four paired seeds.

# %%
ruler = {500: [0.8, 1.1, 0.9, 0.7], 2000: [1.9, 2.2, 2.1, 1.7]}  # points
gains = [1.2, 1.6, 1.3, 1.2]  # of 3,000 synthetic images, in the same seeds
print(exchange_rate(3000, gains, list(ruler), list(ruler.values())))

# %% [markdown]
# ## Verdicts
#
# The rules stand in `data/claims.json`; they are about the numbers of images of the recorded plan, so a smaller run resolves none of them.
# A difference counts only if its p-value, adjusted by Holm's method over all of this table, is below 0.05; one whose whole interval lies within 0.3 points of 0 counts as none.
# The two claims on order are about differences from the control, not about the best order.
# Merely flawed images would be worth less than fresh ones, too; so the first claim alone does not show repetition. That distinct ones gain over repeated ones speaks against mere repetition.
# Conjecture 1 is put as a contrast of gains at equal numbers: a rate above 1 means that as many fresh images gain more. Conjecture 5 is put in points; it was first written as a share of the ceiling.

# %% mystnb={"code_prompt_hide": "Hide the verdicts", "code_prompt_show": "Show the verdicts"} tags=["hide-cell"]
table_html(decided(EXPERIMENT.name, recorded), "This book's claims, what decides each, and the verdict.")

# %% [markdown]
# ## What these numbers do not say
#
# - One generator, one data set of small grey images, one small network: other generators have other rates.
# - Flips are the only augmentation. On top of TrivialAugment, images from noise and images made from real ones lost accuracy ([chapter 2](02_targeted_augmentation)). With ten times the weight decay, those from noise still gained.
# - All is at one number of steps.
# - All seeds share one set of real images and one pool per source, most of which each draws. Intervals cover little more than the training: no other real set, and no other generator.
# - In pixels, samples of this generator lie nearest to one of its training images more often than fresh images do ([chapter 0](00_the_generator)). What that costs was not measured.
# - Below the ruler's smallest number, the curve is little more than a straight line, so rates of very small gains are rough.
#
# ## Does it still run?
#
# When the book is built, the chapter is computed again at a small profile, whose numbers are of other sizes: look only at whether they are there.

# %% mystnb={"code_prompt_hide": "Hide this build", "code_prompt_show": "Show this build beside the recorded run"} tags=["hide-cell"]
table_html(side_by_side(figures.numbers, live, recorded), "Gains in points, rates and shares, with 95 % intervals.")

# %% [markdown]
# ## What to do with your data
#
# Each row is computed from the recorded run: "open" where its interval allows both. Without one, nothing is advised.
# The rows hold for one generator, one set of small grey images, one small network and flips. With a weak generator of CIFAR-10, images from noise [cost accuracy](08_will_it_help_me). Test with yours.

# %% tags=["hide-input"]
advice = figures.what_to_do(largest) if recorded is not None else figures.what_to_do(live).assign(**{"what to do": "not recorded yet"})
table_html(advice, "Questions, what was measured, and what follows.")
