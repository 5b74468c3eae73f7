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
# # Targeted augmentation: copies or new images of what is hard to learn
#
# {cite:t}`nguyen2025` do not synthesise a whole data set. They train a classifier for a few epochs, find the examples that it is slow to learn, and give only those to a diffusion model, which noises each one halfway and draws it anew.
# A classifier trained on the real images and these *faithful* ones, they report, does better than one trained on the originals, and better than one that simply sees the slow examples more often, which was their earlier proposal {cite:p}`nguyen2024`.
#
# $k$ counts how often a slow example occurs: itself, and $k-1$ copies (*{term}`upsampling`*) or $k-1$ images made from it (*{term}`generation`*).
# If a share $s$ of the examples is slow, $k$ adds $(k-1)s$ of the data set: with $s$ between 30 and 40 %, as published, $k=2$ adds 30 to 40 % and $k=5$ adds 120 to 160 %. The "30 to 40 %" that is quoted for the method belongs to $k=2$.
#
# The full text of the paper was not at hand: its claims below are second hand, from summaries, notes and public reviews, and most of its figures are bars without numbers.
# So what is compared is mostly the *order* of arms.
#
# Three controls stand beside every comparison here.
# All arms take the same number of optimiser steps, so that nothing is gained by training longer.
# Arms of one seed share initial weights, and where two training sets are equally large, also the order in which places of the set are visited.
# And the same number of *{term}`fresh real`* images, of the same classes, takes the place of the generated ones: the *ceiling*, what as many new real images gain. It stands beside the smallest and the largest $k$, and beside every optimizer, augmentation, network, regime and number of steps. Where the ceiling shows nothing, nothing can be concluded about generated images.

# %% tags=["parameters"]
profile = None  # Size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick".
studies = None  # What is compared, some of: "k", "pilot", "optimizers", "strength", "selection", "classical", "large", "architectures", "ablations", "budgets".
generator = None  # Name or folder of a trained generator, whose training images are the real images.
steps = None  # Optimiser steps of 128 images of each training.
ks = None  # How often a slow example occurs, 2 among them.
strength = None  # Denoising steps of 100 from which images are generated; 50 if None.
seeds = None  # Paired trainings of each arm.
k_seeds = None  # Paired trainings of each arm of the studies "k" and "ablations".
architecture = None  # The network: "resnet8", "vgg5", "vit_tiny", "resnet18" or another of synaug.classifiers.
recipe = None  # Learning rates of the training: "one_cycle", "paper" or "two_drops".
device = None  # Where networks run: "cpu", "cuda" or "mps"; "cpu" if None.
settings = {}  # Further parameters of synaug.chapters.targeted_augmentation.Comparison, by name.

# %% tags=["hide-input"]
from synaug.chapters.targeted_augmentation import EXPERIMENT

parameters = EXPERIMENT.read(globals())

# %% tags=["remove-cell"]
import itertools

import torch
from IPython.display import Markdown
from myst_nb import glue
from torch.nn import functional as F
from torch.utils.data import DataLoader

from synaug.augmentation import with_generated
from synaug.chapters import targeted_augmentation as chapter
from synaug.chapters import targeted_augmentation_figures as figures
from synaug.classifiers import build_classifier
from synaug.data.torch_datasets import TorchImages
from synaug.plots import image_grid, table_html, theme
from synaug.run import Store
from synaug.run.results import recorded_run
from synaug.statistics.claims import load_published, verdict_table

theme()
live = EXPERIMENT.run(**parameters)
recorded = recorded_run(live)
largest = live if recorded is None else recorded
checked, get = EXPERIMENT.settings(**parameters), Store().get


def holding(*studies):
    """The largest run that holds one of these studies; None where none does."""
    runs = [frame for frame in (recorded, live) if frame is not None]
    return next((frame for frame in runs if set(studies) & set(frame.attrs["provenance"]["parameters"]["studies"])), None)


# %% tags=["hide-input"]
Markdown(figures.describe(live, recorded))

# %% [markdown]
# Figures and tables of one run are of the largest that holds their study, and are left out where none does; the parameter `studies` adds them to a run of one's own.
#
# Each regime has a generator of its own, trained on the very images that the classifiers are trained on and on no others.
# Fresh real images and validation images come from the rest of the training split and never overlap; the test split is used for the final numbers only.
#
# ## How the regimes were chosen
#
# Whether anything can help depends on the regime: a network that has not finished learning what it has gains nothing from more.
# So a pilot, on validation images only and with seeds of its own, trained on the real images alone and joined by fresh ones, as many as $k=5$ would add at 40 % slow examples.
# The rule: the fewest of the steps tried at which the fresh images gain at least 1.5 points on average.
#
# Which steps to try was decided by earlier, unrecorded trials on validation images.

# %% tags=["hide-input"]
table_html(figures.pilot_table(frame)) if (frame := holding("pilot")) is not None else None

# %% [markdown]
# ## Which examples are slow
#
# The warm-up is the beginning of an ordinary training run, up to the pass in which the training error stops falling fast.
# In each class, the network's outputs for the class's examples are divided into two clusters; the one with the higher mean loss is *slow*.
# The selection is a seed's own: the warm-up has the seed of the training that follows. It is one of SGD with flips, also before SAM and TrivialAugment, which so augment the same examples.

# %% tags=["hide-input"]
table_html(figures.warm_up_table(largest))

# %% [markdown]
# How far an image is noised before it comes back decides how far the new one is from it.
# The published recipe counts denoising steps of a schedule of 100; in that of a cosine schedule, $n$ steps are the noise level $\sigma=\tan(\pi n/200)$ in images from -1 to 1 (derived here), so 50 steps are $\sigma=1$.
# At 28 × 28 pixels the same σ destroys more than at the 64 × 64 of the published generator, so strengths cannot be compared one to one.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "A fast and a slow example of each class, of median loss in their cluster, and what becomes of the slow one at rising strength, with the same noise scaled; the last row starts from noise alone and shares only the class. This build.", "name": "fig-slow-fast"}, "image": {"alt": "A grid of images, one class per column: fast examples, slow examples, and images made of the slow ones, which keep their shape at small strength and lose it at large strength and from noise alone."}}
rows, names = chapter.shown_images(checked, get)
image_grid(list(rows.values()), list(rows), names);

# %% [markdown]
# ## Test error against $k$
#
# The main claim: upsampling is best at $k=2$ and worse beyond, generation is best at $k=5$ and better than any upsampling.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Small regime. Left: test error against k; k = 1 is the original set, trained for as many steps. Right: gain over the original, paired by seed; above 0 is better. Dashed lines: the k that the paper found best on CIFAR-10 (no numbers are printed there). Bars: 95 % t intervals over seeds, or the range where a run has fewer than five. Seeds differ in initial weights, batches and selected examples; all use one set of real images and one pool of generated ones.", "name": "fig-k"}, "image": {"alt": "Two panels against k: test error, and gain over the original set, for upsampling, generation and fresh real images, with dashed lines at the published best k."}}
figures.error_against_k(live, recorded);

# %% [markdown]
# The same on the half of the test images that is slow to learn itself, by the loss at the end of the seed's warm-up:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "As the figure above, on the half of the test images on which the warm-up's loss is highest.", "name": "fig-k-slow"}, "image": {"alt": "Two panels against k for slow test images: error and gain over the original set, for upsampling, generation and fresh real images."}}
figures.error_against_k(live, recorded, metric="test_error_slow");

# %% [markdown]
# The main comparison in every recorded run of this chapter, of whatever images (`cifar10_5000` has a small generator that has seen no more than those 5,000 images), as gains over the original set.
# *Fresh* is what as many new real images of the same classes gain; *generated* minus *upsampled* is what new images add to mere weight; what lies between *generated* and *fresh* is what generated images lack.

# %% tags=["hide-input"]
table_html(figures.runs_table(live))

# %% [markdown]
# ## From real images or from noise, and how strong
#
# Published: images from noise alone are worse than no augmentation, and of the strengths about 50 of 100 steps is best, because fewer make copies and more leave nothing of the source but noise.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gain at k = 2 of images of rising denoising strength, of images of the same classes from noise alone, and of copies; in brackets the images added, as a share of the real ones. The paper found 50 steps best. Bars: 95 % t intervals over seeds.", "name": "fig-strength"}, "image": {"alt": "Horizontal intervals of the gain over the original set by denoising steps of 100, from noise alone, and of upsampling."}}
figures.strengths(frame) if (frame := holding("strength")) is not None else None;

# %% [markdown]
# ## Which examples to augment
#
# Published: images for slow examples are clearly better than for as many random ones, better than for all at about three times the cost, and clusters choose better than high loss or misclassification.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gain at k = 2 of generated images for examples chosen in five ways, and of copies and fresh real images; in brackets the images added, as a share of the real ones. Bars: 95 % t intervals over seeds; hollow points: not told from 0 once p-values are adjusted over all gains of the chapter.", "name": "fig-selection"}, "image": {"alt": "Horizontal intervals of the gain over the original set for slow, random, all, high-loss and misclassified examples, for upsampled slow ones, and for fresh real images."}}
figures.selections(frame) if (frame := holding("selection")) is not None else None;

# %% [markdown]
# ## Other optimisers, augmentations, networks, numbers of steps and a larger regime
#
# All arms of a row take the same steps, the original included. SAM {cite:p}`foret2021` passes every batch twice, so its steps cost twice as much. TrivialAugment {cite:p}`muller2021` comes before the flips.
# The paper's own numbers for such a comparison, as far as known, stand below: two networks of a later version.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gain over the original set of the same row, whose test error stands in brackets, of upsampling at k = 2, and of generation and fresh real images at the largest k. Circles: ours, bars as above. Squares: published for CIFAR-10, SGD (second hand), without intervals. Other data, other networks: only the order can be compared.", "name": "fig-settings"}, "image": {"alt": "Horizontal intervals of the gain over the original set, a row per setting of optimizer, network, augmentation, regime and steps, with published points of two networks."}}
frame = holding("optimizers", "classical", "large", "architectures", "budgets")
figures.settings(frame) if frame is not None else None;

# %% [markdown]
# ## Ablations
#
# Where generation falls short of fresh real images, or of copies, the reason may be the generator, what it draws, the strength, or the number of steps. One change at a time, and one pair of changes:

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gain over usual generation at the largest k, paired by seed, with one thing changed, or two; of fresh real images and of copies for comparison. The oracle generator was trained on five times as many real images, the classifier's among them: it has seen more real data than any classifier here, so it is no fair arm but tells what a better generator would give. Bars as above.", "name": "fig-ablations"}, "image": {"alt": "Horizontal intervals of the gain over usual generation for several strengths, filtered images, an oracle generator, images from noise, other numbers of steps, and for fresh and upsampled images."}}
frame = holding("ablations", "suspects", "budgets")
figures.ablations(frame) if frame is not None else None;

# %% [markdown]
# p-values are adjusted over this table; "no difference" where the whole interval lies within 0.2 points of 0.
# Of other numbers of steps, it is the gain over an original trained as long that is compared. What filters drop is not replaced, so their sets are smaller too. Of several strengths, the copies of an example take turns, so that $k-1$ of them occur, from the weakest on.
# The first run of this study had five seeds and resolved nothing but the harm of half the steps; it was given as many as that of $k$.
# The two changes with images from noise alone came last, after no other had closed much of the gap: if what is missing is what the classifier's own images do not hold, the oracle generator should bring it where it draws from noise, and the usual one, which has seen no other images, should not.

# %% tags=["hide-input"]
table_html(figures.table(figures.ablated(frame), "gain over usual generation", what_was_changed="change", reading="reading")) if frame is not None else None

# %% [markdown]
# How much of the ceiling generation reaches at the largest $k$, and how much of what is missing each change brings:

# %% tags=["hide-input"]
shares = figures.shares(largest if frame is None else frame)
table_html(shares) if len(shares) else None

# %% [markdown]
# ## What a point costs
#
# Seconds: of one core on a processor, else by the clock. Steps are equal, so training costs all arms of one optimiser the same; extra are the warm-up that chooses, the generation, and SAM's second pass.

# %% tags=["hide-input"]
table_html(figures.cost_table(largest))

# %% tags=["hide-input"]
hours = load_published("nguyen2025")["generation_hours"]
Markdown(f"Published ({hours['setting']}): {hours['targeted']:g} hours of generation for the slow examples, {hours['all']:g} for all.")

# %% [markdown]
# ## In a training loop of one's own
#
# An augmented set is a torch data set like any other. The loop below is PyTorch's plainest; only the number of steps is fixed, so that the larger set does not train longer.

# %%
real = get(*chapter.images(checked, "small", "real"))
slow = chapter.selected_by(get(chapter.early(checked, "small", checked.architecture, seed=0)), real).indices
pool = get(chapter.pool(checked, chapter.Arm(kind="generated", k=2, strengths=(checked.strength,))))
augmented = with_generated(real, pool, sources=slow, k=2)
items = TorchImages(augmented.data)  # items (float image in [0, 1], label); any transform instead
loader = DataLoader(items, batch_size=128, shuffle=True, drop_last=True, generator=torch.Generator().manual_seed(0))
model = build_classifier(checked.architecture, augmented.data.image_shape, augmented.data.num_classes, seed=0)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
model.train()
losses = []
while len(losses) < 20:
    for images, labels in itertools.islice(loader, 20 - len(losses)):
        loss = F.cross_entropy(model(2 * images - 1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
print(f"{len(augmented):,} images, {len(slow):,} of {len(augmented) - len(slow):,} slow; "
      f"loss {losses[0]:.2f} after the first step, {losses[-1]:.2f} after the last of {len(losses)}")

# %% [markdown]
# ## Verdicts
#
# The rules stand in `data/claims.json` and were fixed before any recorded run; verdicts are taken on the recorded run or, where there is none, on this build.
# Their meaning is that of the chapter before. A difference counts only if its p-value, adjusted by Holm's method over all differences of this table, is below 0.05; a difference whose whole 95 % interval lies within 0.2 points of 0 counts as none.
# Nothing is decided where the ceiling, fresh real images at $k=5$, is not visible itself.

# %% tags=["hide-input"]
verdicts = verdict_table(largest)
table_html(verdicts[["statement", "source", "statistic", "published", "verdict", "evidence"]])

# %% [markdown]
# All gains over the original set, with p-values adjusted over this table:

# %% tags=["hide-input"]
table_html(figures.table(figures.comparisons(largest), setting="setting", arm="arm", k="x"))

# %% [markdown]
# ## What differs from the paper
#
# - *Scale.* CIFAR-10, CIFAR-100 and TinyImageNet with ResNet-18 there; Fashion-MNIST, and for the main comparison 5,000 images of CIFAR-10, with a network of fewer than 80,000 parameters here, in the committed runs.
# - *Generator.* GLIDE there, trained on tens of millions of images (if it is the released model) and told the class in words; here a small class-conditional model that has seen only the classifier's own images. A generator that has seen more can bring in what the training set lacks, whatever is done with it.
# - *Sampler.* Ancestral steps with guidance of 3 there (as far as known); deterministic Heun steps without guidance here.
# - *Evidence of the warm-up.* Outputs are those of its last pass, of augmented images and weights that still move, not those of a network that is held after it.
# - *Retraining.* From scratch, from the initial weights of the warm-up; the texts do not agree on this.
# - *One pool and one set of real images* serve all seeds, so intervals do not cover another draw of either.

# %% tags=["remove-cell"]
glue("claims_table_targeted", table_html(verdicts[["statement", "source", "verdict"]]), display=False)
