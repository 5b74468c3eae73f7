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
# # 1. Mode concentration against reverse steps
#
# Take a real image, add noise until some or all of it is gone, and let a diffusion model bring it back.
# The less is left to the model, the closer the result is to a real image. If all is left to it, the result is a synthetic image like any other.
# The model is told the class of the image, which the reconstruction keeps.
# At the last step it starts from noise alone, as in the paper, and nothing but the class is left of the source.
#
# {cite:t}`yamaguchi2024` calls this *real sample reconstruction* and uses it to ask what changes on the way from real to synthetic.
# The paper says that synthetic samples concentrate near the modes of the data and leave its outer edges bare.
# It also says that they are easier to classify than real images, and train worse classifiers.
# This chapter measures each of these claims.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Show the parameters", "code_prompt_hide": "Hide the parameters"}
profile = None  # Size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick".
generator = None  # Name or folder of a trained generator; the profile's if None.
reverse_steps = None  # Levels t_re, from 0 (real) to steps (synthetic); the profile's if None.
stride = None  # Take every stride-th level of the reverse grid; the profile's if None.
n_images = None  # Training images that are reconstructed; the profile's number if None.
seeds = None  # Classifiers per level; the profile's number if None.
classifier = None  # The network: "resnet8", "resnet18", ...; the profile's if None.
classifier_steps = None  # Optimiser steps, the same at every level; the profile's if None.
encoders = None  # Features that distances are taken in: "efficientnet_lite0", "judge", "pixels", ...; the first two if None.
k = None  # Neighbours in precision, recall, density and coverage; 5 if None.
device = None  # Where networks run: "cpu", "cuda" or "mps"; "cpu" if None.
settings = {}  # Further parameters of synaug.chapters.mode_concentration.Sweep, by name, such as {"churn": 10}.

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the set-up", "code_prompt_hide": "Hide the set-up"}
from synaug.chapters.mode_concentration import EXPERIMENT

parameters = EXPERIMENT.read(globals())

from collections import defaultdict

import torch
from IPython.display import Markdown

from synaug.chapters import mode_concentration as chapter
from synaug.chapters import mode_concentration_figures as figures
from synaug.chapters.reading import drawn, runs_table, side_by_side
from synaug.data import to_bytes
from synaug.diffusion.denoisers import load_denoiser
from synaug.diffusion.schedules import sigma_of_reverse_step, sigmas_from
from synaug.metrics import prdc
from synaug.metrics.encoders import encode
from synaug.plots import T_RE, idea, image_grid, slider, table_html, theme
from synaug.run import Store
from synaug.run.results import load_recorded, recorded_run
from synaug.statistics.claims import verdict_table

theme()
chosen = EXPERIMENT.settings(**parameters)
get = Store().get
live = EXPERIMENT.run(**parameters)
recorded = recorded_run(live)
shown = drawn(live, recorded)
largest = live if recorded is None else recorded
found = defaultdict(lambda: "not measured", figures.numbers(largest))
book, poor = (figures.numbers(load_recorded(EXPERIMENT.name, "standard", variant)) for variant in (None, "cifar10_5000"))
has_judge = (largest["encoder"] == "judge").any()
levels = chosen.reverse_steps

# %% tags=["remove-input"]
Markdown(figures.takeaways(book, poor))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The chapter in one picture: a real image is taken into noise and back, and what comes out is judged.", "name": "fig-idea-1"}, "image": {"alt": "From left to right: a real image, the same under noise up to a level, its reconstruction, and two questions: how near it is to real images, and what a classifier learns from it."}}
idea(
    ["real image"],
    ["the same, under noise"],
    ["reconstruction"],
    ["Do these cover what real images show?", "What does a classifier learn from them?"],
);

# %% [markdown]
# The more noise there is on the way, the less is kept of the real image, up to images from noise alone.
#
# Numbers and curves are of the recorded run of the chosen generator, where there is one. Neither intervals nor verdicts are corrected for multiple comparisons.
# The noise level σ at which the way back begins is the horizontal axis. The paper's count of reverse steps, $t_{\mathrm{re}}$ of 100, stands above it.
# The operation itself is older and has several names: SDEdit {cite:p}`meng2022`, Boomerang {cite:p}`luzi2024`, forward-backward experiments {cite:p}`sclocchi2025`.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the runs behind this page", "code_prompt_hide": "Hide the runs behind this page"}
runs_table(EXPERIMENT, live, recorded)

# %% [markdown]
# ## From real to synthetic
#
# The whole operation is short. Add noise of one level to real images, then take reverse steps from that level down.
# Change `sigma` and look at what is kept. If reverse steps are new to you, read [Diffusion in ten minutes](../diffusion-in-ten-minutes) first.

# %% mystnb={"figure": {"caption": "Real images, the same with noise, and what the reverse steps make of them.", "name": "fig-by-hand"}, "image": {"alt": "Three rows of images: real ones, the same under noise, and their reconstructions, which show the same kind of garment with other details."}}
sigma = 1.0  # 0 leaves the images as they are, 80 leaves nothing of them
denoiser, real = load_denoiser(chosen.generator), get(chapter.pool(chosen, 0))
images, labels = real.floats(range(10)), real.labels[:10]
noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
x = noisy = images + sigma * noise
levels_down = sigmas_from(sigma, 18)  # 18 steps
with torch.no_grad():
    for now, below in zip(levels_down, levels_down[1:]):
        estimate = denoiser(x, now, labels)
        x = x + (below - now) * (x - estimate) / now  # one reverse step
rows = {"real": images, f"σ = {sigma:g}": noisy, "reconstructed": x}
image_grid([to_bytes(row.clamp(-1, 1)) for row in rows.values()], list(rows));

# %% [markdown]
# The kind of garment is kept, its details are new.
#
# Next, three images of each class, one class per column, reconstructed from ever higher noise.
# The noise added to an image is the same at every level, only scaled. What changes from stop to stop is how much of the image the model has to invent.
# Drag the slider, or focus it and use the arrow keys.

# %% tags=["hide-input"]
names = ", ".join(get(chapter.pool(chosen, 0)).class_names[: chapter.SHOWN_CLASSES])
slider(
    chapter.shown_images(chosen, get, levels),
    [f"{T_RE} = {level}, σ = {sigma_of_reverse_step(level, chosen.steps, chosen.mapping):.3g}" for level in levels],
    f"Reconstructions of three real images of each class ({names}), which keep the garment at small levels and only its class at the largest",
)

# %% [markdown]
# Up to about half of the steps the garment stays; at the largest level only its class is left.
#
# ## Distances, and the reference they are taken from
#
# The paper's Fréchet distance starts at 0 and its precision and recall start at 1.
# The reason is its reference, the set of *source* images: at $t_{\mathrm{re}} = 0$ the images are compared with themselves.
# But a generator is not meant to return its training images.
# The better reference is a set of *fresh* real images, which neither the generator nor any classifier here has seen.
# The {term}`real-data baseline` is what real images score against other real images: the fresh curve at σ = 0.
# A generator is not asked for more.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Fr\u00e9chet distance of reconstructions: in features' own units (left), and as a share of the last level's, beside the paper's FID (right). Bars: 95 % intervals over images.", "name": "fig-distance"}, "image": {"alt": "Fr\u00e9chet distance rises with the noise level and flattens at high noise, for both references and for the published FID. Against fresh real images it begins above zero."}}
figures.distances(*shown);

# %% tags=["remove-input"]
Markdown(f"Against fresh real images the distance goes from {found[figures.named('Fréchet distance')]}. Other real images alone already lie {found[figures.SHARE.format(figures.ENCODERS['efficientnet_lite0'])]} as far away as samples do.")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Precision and recall with two references, and the paper's (CIFAR-10). At \u03c3 = 0 the fresh reference gives the real-data baseline. Bars: 95 % intervals over images.", "name": "fig-precision-recall"}, "image": {"alt": "Precision and recall fall with the noise level. With sources as reference they begin at 1, with fresh real images below it, so that the fall is smaller."}}
figures.precision_recall(*shown);

# %% tags=["remove-input"]
Markdown(f"Against fresh real images, precision goes from {found[figures.named('precision')]} and recall from {found[figures.named('recall')]}.")

# %% [markdown]
# Precision is the share of reconstructions that fall where real images are.
# Recall is the share of real images that have reconstructions around them {cite:p}`kynkaanniemi2019`, so it is recall that speaks of coverage.
# The paper names neither its encoder nor its number of neighbours; the code of {cite:t}`kynkaanniemi2019` takes 3, and VGG-16.
# Here they are EfficientNet-Lite0 and `k`. So levels cannot be compared with the paper's, and falls only roughly.
#
# Both are counts of neighbours. The cell measures them on this build's few images, so only the order of the numbers means something.

# %%
encoder = "efficientnet_lite0"
fresh = get(chapter.real(chosen, "unseen", chosen.n_sources))  # seen by nothing here
n = min(len(fresh), len(real), chosen.n_compare)
reference = encode(fresh.floats(range(n)), encoder)
for level in (levels[0], levels[-1]):
    made = encode(get(chapter.pool(chosen, level)).floats(range(n)), encoder)
    here = prdc(reference, made, k=chosen.k)
    print(f"t_re = {level}: precision {here['precision']:.2f}, "
          f"recall {here['recall']:.2f}")

# %% [markdown]
# Density and coverage {cite:p}`naeem2020` ask the same two questions and are less sensitive to outliers.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Density and coverage with both references. The fresh curve at \u03c3 = 0 is the real-data baseline; density is not bounded by 1. Bars: 95 % intervals over images.", "name": "fig-density-coverage"}, "image": {"alt": "Density and coverage fall with the noise level from about 1, with sources and with fresh real images as reference."}}
figures.density_coverage(*shown);

# %% tags=["remove-input"]
Markdown(f"Density goes from {found[figures.named('density')]}, coverage from {found[figures.named('coverage')]}.")

# %% [markdown]
# A conclusion should survive a change of encoder. The same measures follow in the features of the {term}`judge`, here a classifier trained on the real source images.
# It has been fitted to the sources, so fresh real images lie at some distance from them even at σ = 0.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Fr\u00e9chet distance in the judge's features. Its units are its own; compare the shapes.", "name": "fig-distance-judge"}, "image": {"alt": "Fr\u00e9chet distance in the judge's features rises with the noise level, as it does in EfficientNet-Lite0 features."}}
figures.distances(*shown, encoder="judge") if has_judge else None;

# %% tags=["remove-input"]
Markdown(f"In these features the distance to fresh real images goes from {found[figures.named('Fréchet distance', 'judge')]}.")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Precision and recall in the judge's features. Compare the fall, not the level.", "name": "fig-precision-recall-judge"}, "image": {"alt": "Precision and recall in the judge's features: both fall less than in EfficientNet-Lite0 features, and precision hardly falls against fresh real images."}}
figures.precision_recall(*shown, encoder="judge") if has_judge else None;

# %% tags=["remove-input"]
Markdown(f"Precision goes from {found[figures.named('precision', 'judge')]} and recall from {found[figures.named('recall', 'judge')]} against fresh real images. Compare these falls with those above.")

# %% [markdown]
# ## Concentration, measured directly
#
# Three indices, all against fresh real images.
#
# - *Outer-edge recall* is recall restricted to the tenth of the fresh images that lie where real data are thinnest.
# - The *centroid distance ratio* asks how far images are from the centre of their class, relative to fresh real images. Below 1 they are nearer.
# - The *covariance log-determinant* compares the volume that a class fills. Negative is smaller.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Three indices of concentration in EfficientNet-Lite0 features. At \u03c3 = 0: the real-data baseline, of source images against fresh ones. Bars: 95 % intervals over images.", "name": "fig-concentration"}, "image": {"alt": "Three panels against noise level. Outer-edge recall falls steeply, the distance to the class centroid hardly changes, and the covariance log-determinant becomes negative."}}
figures.concentration(*shown);

# %% tags=["remove-input"]
Markdown(f"Outer-edge recall goes from {found[figures.named('outer-edge recall')]}, the centroid distance ratio from {found[figures.named('centroid distance ratio')]}, "
         f"the log-determinant from {found[figures.named('covariance log-determinant')]} per dimension.")

# %% tags=["remove-input"]
Markdown("The centroid distance ratio is " + figures.lowest(largest, "centroid_distance_ratio", reference="fresh", encoder=chosen.encoders[0]))

# %% [markdown]
# Do samples concentrate near the modes, then? The answer depends on the data set and on the features.

# %% tags=["remove-input"]
Markdown(figures.concentrated(poor, book))

# %% [markdown]
# So samples of the CIFAR-10 generator do concentrate in EfficientNet features: nearer to the centre, more precise, with little recall. In the judge's features they move away from the centre instead.
# On Fashion-MNIST samples hardly move to the centre in either encoder. They fill less volume and leave the edge bare.
#
# ## What classifiers learn from reconstructions
#
# At each level a classifier is trained on the reconstructions alone, always with the same number of optimiser steps, and scored on real test images.
# A seed fixes the initial weights and the order of the batches, so that the levels of one seed differ in their images only.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test accuracy of classifiers trained on reconstructions (left), and its change from real images (right). Bars: 95 % t intervals over seeds, the range below five; the paper's as printed.", "name": "fig-accuracy"}, "image": {"alt": "Test accuracy falls with the noise level of the reconstructions that classifiers are trained on. The fall is smaller here than the published one on CIFAR-10."}}
figures.accuracies(*shown);

# %% tags=["remove-input"]
Markdown(f"Accuracy goes from {found['test accuracy (%)']} %, a change of {found['change of test accuracy (points)']} points from real to fully synthetic images. {figures.lowest_accuracy(largest)}")

# %% [markdown]
# The data sets differ, Fashion-MNIST here and CIFAR-10 in the paper, so compare the falls.
# The classifiers of one level see the same reconstructions. So the bars do not include another draw of noise or another generator.
#
# The generator matters, as two recordings of this run show.

# %% tags=["remove-input"]
Markdown("The run was first recorded with a generator that had been shown 0.5 million images in training, repeats counted. The fall was 2.8 points then. "
         f"It was recorded anew with the present one, which has seen 1.7 million: {book['change of test accuracy (points)']} points.")

# %% [markdown]
# The same change follows for every recorded run of this chapter.
# The run on CIFAR-10 is scaled down: its generator, `cifar10_5000`, is small and was trained on only 5,000 different images, so that it stands for a poor one.
# The runs differ in data, number of images and generator at once. So only the two recordings on Fashion-MNIST speak of the generator alone.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Change of test accuracy from real training images, in all recorded runs and in the paper. Bars: 95 % t intervals over seeds, or the range; the paper's as printed.", "name": "fig-falls"}, "image": {"alt": "Change of test accuracy against noise level. The run with the small CIFAR-10 generator falls by far the most, the published run less, the Fashion-MNIST run least."}}
runs = figures.recorded_runs(live)
figures.falls(runs) if runs else None;

# %% tags=["remove-input"]
Markdown(f"With the generator of CIFAR-10 accuracy changes by {poor['change of test accuracy (points)']} points, and recall goes from {poor[figures.named('recall')]} against fresh real images.")

# %% tags=["hide-input"]
table_html(figures.falls_table(runs), "Accuracy at both ends, in per cent, and its change. Precision and recall: of fully synthetic images, in EfficientNet-Lite0 features, "
           "with their sources as reference, where the sources have 1.") if runs else None

# %% [markdown]
# ## Are synthetic images easier?
#
# The judge looks at reconstructions of images it was trained on, and of test images it was not.
# The paper plots the entropy of such a judge's output.
# Most of its values exceed ln 10, which a mean entropy over ten classes cannot (eq. 4 there, in nats: natural logarithms). So only the shapes are compared.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Output entropy as published (first); entropy and accuracy of this book's judge on reconstructions of train and of test images (second, third). Bars: 95 % intervals over images.", "name": "fig-entropy"}, "image": {"alt": "Published entropy falls with the noise level and mostly lies above the largest possible value. The entropy of this book's judge does not fall."}}
figures.entropies(*shown);

# %% tags=["remove-input"]
Markdown(f"The judge's entropy goes from {found[figures.ENTROPY['train']]} nats for training images, and from {found[figures.ENTROPY['test']]} nats for test images. "
         f"Its accuracy goes from {found[figures.ACCURACY['train']]} % and from {found[figures.ACCURACY['test']]} %. "
         f"On CIFAR-10, with its weak generator, the judge's entropy on test images rises from {poor[figures.ENTROPY['test']]} nats.")

# %% [markdown]
# The judge has fitted its training images, so it is surer of them than of any others, and reconstructions lose this head start. Test images have none.
# On Fashion-MNIST, the intervals at both ends of the test images' curve overlap: whether the judge is surer or less sure is not resolved.

# %% [markdown]
# ## In the plane of the judge's features
#
# The first two principal components of the judge's features, fitted on the real source images only; everything else is projected.
# If samples concentrate, clouds shrink towards their centres from panel to panel.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The judge's features of real images (first) and of reconstructions, in the plane of the real images; at most 50 images per class, from this build.", "name": "fig-pca"}, "image": {"alt": "Scatter plots of two principal components, coloured by class, a panel per level. The judge of this small build is hardly trained, so that nothing can be read off the clouds."}}
picked = sorted({levels[0], levels[len(levels) // 2], levels[-1]})
figures.pca_plane(chapter.plane_points(chosen, get, picked));

# %% [markdown]
# These few points are of this small build, whose judge is hardly trained. They show what is measured, not what was found; the next figure measures the clouds of the recorded run.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Within-class variance in that plane, over that of fresh real images. At \u03c3 = 0: the judge's own training images. Bars: 95 % intervals over images.", "name": "fig-pca-variance"}, "image": {"alt": "Relative within-class variance in the plane against noise level: below 1 already for untouched real images, and a little lower for reconstructions."}}
figures.plane_variance(*shown);

# %% tags=["remove-input"]
Markdown(f"The ratio goes from {found['variance in the plane']}: compare it with the value of untouched real images, not with 1. It is {figures.lowest(largest, 'pca_variance_ratio')}")

# %% [markdown]
# ## Where classifiers look
#
# Grad-CAM {cite:p}`selvaraju2017` on real test images, for the true class, of classifiers trained at each level.
# Maps of two networks differ even when both are trained on the same images. So the agreement at each level is read against the agreement between two seeds at $t_{\mathrm{re}} = 0$.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Grad-CAM maps (bright: used) of classifiers trained on real images (left) up to fully synthetic ones (right); this build, first seed.", "name": "fig-attention"}, "image": {"alt": "A grid of test images overlaid with Grad-CAM maps, one row per image and one column per level of the training images. The classifiers of this small build are hardly trained, and their maps differ at random."}}
rows = min(5, chosen.n_maps)
maps = [get(chapter.maps(chosen, level, 0))[:rows] for level in levels]
figures.attention_maps(get(chapter.real(chosen, "test", chosen.n_evaluate)).images[:rows], maps, levels);

# %% [markdown]
# These maps are of this small build and only show what is compared. The next figure takes the mean over many, in the recorded run.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Correlation of Grad-CAM maps with those of another seed's classifier, trained on real images. At \u03c3 = 0: what two seeds share. Bars as for accuracy.", "name": "fig-attention-agreement"}, "image": {"alt": "Correlation of Grad-CAM maps with those of a real-trained classifier of another seed: it hardly changes with the noise level."}}
figures.attention_agreement(*shown);

# %% tags=["remove-input"]
Markdown(f"The correlation goes from {found['agreement of maps']}. Pairs share classifiers, so the bars are somewhat too narrow.")

# %% [markdown]
# ## Verdicts
#
# Verdicts are taken on the recorded run or, where there is none, on this build. Rules and evidence stand on the [Claims page](../claims).
#
# - *Reproduced*: the direction holds with its whole interval, and the size where the paper's can be compared.
# - *Shape only*: the direction holds, the size differs or cannot be compared.
# - *No effect*: the whole interval shows no difference worth the name. *Opposite*: it lies on the other side.
# - *Not resolved at this scale*: none of these. What this book claims itself is *supported* or *not supported*.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the verdicts", "code_prompt_hide": "Hide the verdicts"}
cifar = verdict_table(load_recorded(EXPERIMENT.name, "standard", "cifar10_5000"))["verdict"]
verdicts = verdict_table(largest).assign(**{"on CIFAR-10": cifar})
table_html(verdicts[["statement", "verdict", "on CIFAR-10"]], "The paper's claims and their verdicts; how each was decided stands on the Claims page.")

# %% [markdown]
# ## What differs from the paper, and what the paper leaves open
#
# - *Scale.* The paper uses CIFAR-10, the published EDM of 56 million parameters and ResNet-18. The recorded runs use Fashion-MNIST, and 5,000 images of CIFAR-10, with small generators trained from scratch (chapter 0) and a small residual network. It is trained for a fixed number of steps under a one-cycle schedule; the paper takes 100 epochs of stepped SGD.
# - *From step to noise level.* The paper writes its algorithm in DDPM's notation but runs EDM, and does not say which σ a reverse step has. EDM's own grid of 100 fits its curves: precision and recall stay near 1 up to $t_{\mathrm{re}} = 30$, and all three curves hardly move from 70 on. The parameter `mapping = "vp"` chooses the other reading.
# - *Sampler.* Here: deterministic Heun steps on every `stride`-th level of that grid. The paper does not say whether its steps are stochastic (`churn`).
# - *Reference.* The paper does not name it. A distance of 0 at $t_{\mathrm{re}} = 0$ means the sources themselves. Both references are shown.
# - *Labels.* The paper does not say whether the model is told the class of the source. Here it is.
# - *Entropy.* Most published values exceed ln 10. The text calls them marginal entropy; the formula is the mean conditional entropy, which is what is computed here.
# - *Steps.* Classifiers at all levels take the same number of optimiser steps. The paper's table does too if its sets have equal size, as its algorithm implies.
# - *Mechanism.* The paper explains concentration by reverse steps that climb the log-density. An exact reverse process preserves the distribution at every noise level, so this cannot be the whole reason. Chapter 4 separates what the model's error, the discretisation and the metric contribute.
# - *Accuracy on CIFAR-100.* The paper's 86.7 % for real images is far above what a ResNet-18 trained from scratch at 32 × 32 usually reaches. Something unstated, perhaps pre-training or larger inputs, is in it. Only falls should be compared.
# - *Augmentation.* The paper's tables 3 and 4 give the same experiment (Aircraft, three synthetic images for each real one) as 64.68 and as 64.78 %. Its text says both that more than three times and that at least five times as many synthetic images suffice.
#
# ## Does it still run?
#
# When the book is built, the chapter is computed again at a small profile, whose numbers are of other sizes: look only at whether they are there.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show this build beside the recorded run", "code_prompt_hide": "Hide this build"}
table_html(side_by_side(figures.numbers, live, recorded), "Headline numbers, from real to fully synthetic images, against fresh real images.")

# %% [markdown]
# ## What to do
#
# - Do not train on synthetic images alone if you have the real ones. It cost accuracy with every generator that was tried here.
# - Measure coverage against fresh real images, never against the training images of the generator. Outer-edge recall shows a loss that averages hide.
# - Check a conclusion in a second set of features before you believe it.
# - If you need variants that cover what the real images cover, start from them at little noise. At half of the steps, hardly more recall is left than from noise alone; on CIFAR-10, even smaller noise levels cost much of it. Whether they help in training is another matter: in [chapter 8](08_will_it_help_me) those at little noise gained least.
