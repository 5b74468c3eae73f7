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
# # 7. Other generators, other data
#
# All images so far come from diffusion models, and nearly all are like Fashion-MNIST. This chapter asks what depends on that.
# A variational autoencoder (VAE) and a generative adversarial network (GAN) are trained on the very same images and put through the same measurements.
# Then one trait of the images changes at a time, and in the end one setting of the diffusion model.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Show the parameters", "code_prompt_hide": "Hide the parameters"}
profile = None  # Size of the run: "smoke", "quick", "standard" or "paper"; None: $SYNAUG_PROFILE, or "quick".
generator = None  # Name or folder of a trained diffusion model; the VAE's and the GAN's are this name, then _vae or _gan.
few = None  # The same of a diffusion model that was trained on few images; synthetic images are added to these.
families = None  # Families beside the diffusion model, some of: "vae", "gan".
strengths = None  # Strengths of reconstruction, from 0 (the image itself) to 1 (from noise alone), which comes last.
sets = None  # Data sets that are compared, by their names in synaug.chapters.other_generators.data_traits.
changes = None  # Changes of the diffusion model, by their names in synaug.chapters.other_generators.ablations.
steps = None  # Optimiser steps of every training of a classifier.
seeds = None  # Paired seeds of each arm.
device = None  # Where networks run: "cpu", "cuda" or "mps"; "cpu" if None.
settings = {}  # Further parameters of the three experiments in synaug.chapters.other_generators, by name.

# %% tags=["hide-input"] mystnb={"code_prompt_show": "Show the set-up", "code_prompt_hide": "Hide the set-up"}
from synaug.chapters.other_generators import ablations, data_traits
from synaug.chapters.other_generators import families as three_families

_experiments = [module.EXPERIMENT for module in (three_families, data_traits, ablations)]
given = [one.read(globals(), *(other for other in _experiments if other is not one)) for one in _experiments]

from IPython.display import Markdown, display

from synaug.chapters.other_generators import other_generators_figures as figures
from synaug.chapters.reading import decided, drawn, runs_table, side_by_side, told
from synaug.chapters.where_concentration_comes_from import real_generators_figures as generators
from synaug.plots import idea, image_grid, table_html, theme
from synaug.run import Store
from synaug.run.results import load_recorded, recorded_run

theme()
experiments = _experiments
live = [one.run(**values) for one, values in zip(experiments, given)]
recorded = [recorded_run(frame) for frame in live]
samples, data, tuned = shown = [frame if stored is None else stored for frame, stored in zip(live, recorded)]
checked, get = experiments[0].settings(**given[0]), Store().get
found = figures.numbers(*shown)
tried = () if recorded[2] is None else recorded[2].attrs["provenance"]["parameters"]["studies"]
ratio = samples.attrs["provenance"]["parameters"]["ratios"][0]

# %% tags=["remove-input"]
Markdown(figures.takeaways(shown, recorded))

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The chapter in one picture: three families of generators, one contract.", "name": "fig-idea-7"}, "image": {"alt": "A real image and its class go in, a new image of that class comes out; between them a diffusion model works with noise, a VAE and a GAN in a latent space."}}
idea(
    ["a real image and its class"],
    ["diffusion model: adds noise and removes it", "VAE: mixes its place in a latent space with a random one", "GAN: the same, in its own latent space"],
    ["a new image of that class"],
);

# %% [markdown]
# All three take and give the same, so they can be compared; only the way between differs. Up to the section on data, a colour is a family's.
#
# Figures and tables show recorded runs, where there are any. In brackets stand 95 % intervals over paired seeds, or over images where there is one set of them.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the runs behind this page", "code_prompt_hide": "Hide the runs behind this page"}
display(*map(runs_table, experiments, live, recorded))

# %% [markdown]
# ## Three families, one contract
#
# Each family takes a real image away from itself and brings it back, with its class.
# A *strength* from 0 to 1 says how far: 0 is the nearest image that the generator can make, 1 keeps nothing but the class.
# The diffusion model adds noise and removes it. VAE and GAN go through a latent space: the image's place there is mixed with a random one.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Real images, and images from noise of the three generators, which were trained on the same images.", "name": "fig-families"}, "image": {"alt": "Rows of small pictures, one per class: images of the VAE are smooth, those of the diffusion model and of the GAN have detail."}}
figures.pictures(checked, get);

# %% [markdown]
# Nearly all show the class asked for. The VAE's images are smooth; those of the diffusion model and of the GAN have detail, not all of it right.
#
# With a generator of your own the same takes a few lines. `python -m synaug train-generator --recipe vae --folder my_vae` makes one.

# %% mystnb={"figure": {"caption": "Six images, and what the diffusion model makes of them at three strengths.", "name": "fig-strengths"}, "image": {"alt": "Four rows of pictures: six real images, then the same at strengths 0.3, 0.6 and 1, where nothing but the class is left."}}
from synaug.data import load_dataset, to_bytes
from synaug.generators import load_generator

some = load_dataset("fashion_mnist", "test").subset(range(6))
model = load_generator("fashion_mnist_2000")
rows = {"real": some.images}
for strength in (0.3, 0.6, 1.0):
    made = model.reconstruct(some.floats(), some.labels, strength)
    rows[f"strength {strength}"] = to_bytes(made.images)
image_grid(list(rows.values()), list(rows));

# %% [markdown]
# Up to a strength of 0.6 the garment is still the same; at 1 only its class is left.
#
# ## Do they leave out the same?
#
# One strength takes an image further in one family than in another. So the families are compared at *equal distance from the source*, in features of a network; the unit is the distance between two real images of a class.
# A VAE or a GAN cannot return an image as it is, and images from noise differ only so much. So the scale runs from the least to the largest distance that *all* families reach; this was fixed before the run. That is a narrow range: even its least distance is most of the way to another image of the class.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Outer-edge recall of fresh real images, and accuracy of classifiers trained on reconstructions alone, at equal distance from the sources (1: another image of the class).", "name": "fig-at-distance"}, "image": {"alt": "At every distance from the source the diffusion model covers more of the outer edge, and its images cost far less accuracy, than VAE and GAN."}}
figures.at_distance(*drawn(live[0], recorded[0]));

# %% tags=["remove-input"]
told(recorded[0], f"Midway, at a distance of {found['distance midway, diffusion'].split()[0]}, outer-edge recall is "
     + ", ".join(f"{found[f'outer-edge recall midway, {arm}']} ({title})" for arm, title in figures.NAMES.items())
     + ". Accuracy changes by " + ", ".join(f"{found[f'accuracy over real midway, {arm}']} points ({title})" for arm, title in figures.NAMES.items()) + ".")

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show all that was measured", "code_prompt_hide": "Hide what was measured"}
table_html(figures.matched_table(samples), "Means over seeds, midway on the scale of distances, and from noise. The judge is a classifier trained on the real images.")

# %% [markdown]
# A VAE's images are smooth, so they might only look closer together than they are. One arm therefore adds the noise that its decoder says they lack.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Images from noise against fresh real ones, and the training images in their place. Bars: 95 % intervals over images.", "name": "fig-from-noise"}, "image": {"alt": "Images from noise of the diffusion model come nearest to real ones in recall and on the outer edge; the GAN comes nearest in precision, the VAE loses in all three."}}
figures.from_noise(samples);

# %% tags=["remove-input"]
told(recorded[0], f"From noise, {found['outer-edge recall from noise, diffusion']} of the outer edge is covered by the diffusion model, {found['outer-edge recall from noise, vae']} by the VAE, {found['outer-edge recall from noise, vae, with noise']} by the VAE with its noise, and {found['outer-edge recall from noise, gan']} by the GAN. "
     + f"So its noise does not bring the edge back to the VAE's images. Classifiers trained on them gain from that noise (below): {found['accuracy from noise, vae, with noise']} points in place of {found['accuracy from noise, vae']}. "
     + "A VAE has no score. Its images are drawn from mixtures fitted to the latent vectors of each class, as these depart from the prior: by " + ", ".join(f"{text} nats ({name.rpartition(' of ')[2]} training images)" for name, text in found.items() if name.startswith("nats")) + ". In brackets stand the least and the largest of all classes.")

# %% [markdown]
# To see what a generator cannot make at all, ask it for nothing but the image itself, at strength 0. Images far from all others are the test.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Error of the nearest reconstruction, strength 0, by family and by what is reconstructed. Bars: 95 % intervals over images.", "name": "fig-inversion"}, "image": {"alt": "The GAN's nearest reconstruction errs more than the VAE's, both most for images with the fewest neighbours; the diffusion model returns what it is given."}}
figures.inversion(samples);

# %% tags=["remove-input"]
told(recorded[0], "For images with the fewest neighbours the error is " + ", ".join(f"{found[f'inversion error, {arm}, outer']} ({title})" for arm, title in figures.NAMES.items()) + ". The diffusion model returns what it is given at strength 0, so its error says nothing of what it leaves out.")

# %% [markdown]
# ## What are their images worth?
#
# First as the only training images, then beside few real ones. Both times all classifiers take equally many steps.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test accuracy of classifiers trained on reconstructions alone, over real images. Bars: 95 % intervals over seeds.", "name": "fig-family-accuracy"}, "image": {"alt": "At every strength, training on images of the VAE or the GAN costs far more accuracy than on those of the diffusion model, which cost most from noise."}}
figures.accuracy(samples);

# %% tags=["remove-input"]
told(recorded[0], f"From noise alone, accuracy changes by {found['accuracy from noise, diffusion']} points with the diffusion model, {found['accuracy from noise, vae']} with the VAE ({found['accuracy from noise, vae, with noise']} with its noise) and {found['accuracy from noise, gan']} with the GAN.")

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Gain in test accuracy when images from noise are added to few real ones. Bars: 95 % intervals over seeds.", "name": "fig-family-gains"}, "image": {"alt": "Added images of the diffusion model gain, fresh real ones gain more; those of the VAE and of the GAN lose, the more the more are added."}}
figures.adding(samples);

# %% tags=["remove-input"]
told(recorded[0], f"With {ratio} for each real image, the diffusion model gains {found[f'gain when added 1:{ratio}, diffusion']} points, the VAE {found[f'gain when added 1:{ratio}, vae']}, the GAN {found[f'gain when added 1:{ratio}, gan']}, and fresh real images {found[f'gain when added 1:{ratio}, fresh real']}.")

# %% [markdown]
# ## Which data suffer?
#
# The data as they are have ten classes with 200 training images each. Others differ in one trait.
# They have fewer classes, or fewer or more images of each, and so another number of images in all. *Merged* classes hold two kinds of garment.
# Low contrast leaves a quarter of the contrast, a smooth texture stands behind each image, or a fifth of the training labels is wrong. MNIST, the easy end, and CIFAR-10 differ in everything.
#
# A small diffusion model is trained on each set, *for a short while*, with equally many images seen. So costs are larger here than in other chapters. Compare them with those of the data as they are (line).

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Test error of synthetic images alone over real ones (left; line: data as they are), and what they gain beside real ones. Bars: 95 % intervals.", "name": "fig-traits"}, "image": {"alt": "Two panels of intervals by data set: training on synthetic images alone costs accuracy on every set, least with two classes and most on CIFAR-10; added ones gain on few sets, most beside mislabelled images."}}
figures.traits(data) if recorded[1] is not None else None;

# %% tags=["remove-input"]
told(recorded[1], figures.traits_said(data))

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the table", "code_prompt_hide": "Hide the table"}
table_html(figures.rates(data), "By data set: error on real images, cost and gain of synthetic ones, and how many of these are worth a fresh real one.") if recorded[1] is not None else None

# %% [markdown]
# The sets are data sets by name. Yours are folders; `load_dataset` takes both.

# %% mystnb={"figure": {"caption": "Images of four of the data sets.", "name": "fig-data-sets"}, "image": {"alt": "Four rows of pictures: clothes as they are, at low contrast and with a smooth texture behind them, and handwritten digits."}}
by_name = {"as it is": "fashion_mnist", "low contrast": "fashion_mnist_low_contrast",
           "textured": "fashion_mnist_textured", "MNIST": "mnist"}
rows = [load_dataset(name, "test").images[::150][:6] for name in by_name.values()]
image_grid(rows, list(by_name));

# %% [markdown]
# Low contrast and texture leave the shapes as they are, but they are harder to tell from the background.
#
# ## Which settings of a diffusion model matter?
#
# One change of network or training at a time, after equally many images seen. One generator stands behind each row, so rows are a description: intervals leave out what another training would give.
# *No averaged weights* samples with the last step's. *Errors weighted alike* leaves out EDM's weights of noise levels, and *no class dropout* never hides the class in training.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Recall of one set of samples by change (left; line: the base), and accuracy of classifiers trained on it. Bars: 95 % intervals over images and seeds.", "name": "fig-recipes"}, "image": {"alt": "Two panels of intervals by change of network or training: recall of the data, and test accuracy over the base."}}
figures.changes(tuned) if "networks" in tried else None;

# %% tags=["remove-input"]
told(recorded[2], f"{figures.changes_said(tuned)} {figures.losses_said(tuned)}")

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the changes", "code_prompt_hide": "Hide the changes"}
table_html(figures.networks(tuned), "Changes of the diffusion model: loss and recall with limits over images, loss paired with the base's, accuracy with limits over seeds.") if recorded[2] is not None else None

# %% [markdown]
# That a worse score covers less of the outer edge could be a truism about broken models. So the base is looked at along its training, from a poor model to a good one.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Denoising loss on unseen images, and recall of the outer edge, along one training. Line: fresh real images.", "name": "fig-levels"}, "image": {"alt": "Two panels of curves against the images seen in training: the mean denoising loss and the outer-edge recall."}}
figures.levels(*drawn(live[2], recorded[2])) if "levels" in tried else None;

# %% tags=["remove-input"]
told(recorded[2], "Outer-edge recall " + ", ".join(f"after {name.rpartition('levels, ')[2]} images: {text}" for name, text in found.items() if name.startswith("outer-edge recall, levels")) + ".")

# %% [markdown]
# The last of these generators is what samplers and terms are tried on.
# Samplers are compared at equal *evaluations of the network*, which are what costs time: a step of Heun's method has two, one of Euler's has one.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Precision and outer-edge recall of three samplers at equal cost. Line: fresh real images.", "name": "fig-samplers"}, "image": {"alt": "Two panels of curves against the evaluations of the network, for Heun, Euler and ancestral sampling."}}
figures.samplers(*drawn(live[2], recorded[2])) if "samplers" in tried else None;

# %% tags=["remove-input"]
told(recorded[2], figures.samplers_said(tuned))

# %% [markdown]
# Terms that are to make a sampler explore have a strength. Other seeds and other real images choose it, by the recall of the outer edge.
# Terms that guide evaluate the network up to twice as often as plain samples do, and noise inflation adds churn, which these lack.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Each exploration term at its chosen strength, over plain samples. Bars: 95 % intervals over seeds.", "name": "fig-terms"}, "image": {"alt": "Two panels of intervals by exploration term: outer-edge recall and test accuracy over plain samples."}}
figures.exploration(tuned) if "exploration" in tried else None;

# %% tags=["remove-input"]
told(recorded[2], figures.terms_said(tuned))

# %% tags=["remove-input"]
before = generators.gains_table(load_recorded("real_generators", variant="added"), ("outer_edge_recall",)).set_index("")["against plain sampling"]
Markdown(f"Autoguidance once changed outer-edge recall by {before['autoguidance, 2']} in [chapter 4](04_where_concentration_comes_from.html), after a first verdict against it that had used a broken guide. That gain is exploratory. "
         "The first verdict is withdrawn, as its rows on the [Claims page](../claims.html) say. Its new rule (see *Verdicts*) was committed before the run that decides it, with a guide from the model's own training, of an earlier time.")

# %% [markdown]
# ## Verdicts
#
# The rules stand in `data/claims.json`; each was fixed before its own experiment was recorded. Verdicts are of recorded runs only; most need at least five paired seeds. Holm's correction runs over the contrasts of all three experiments.

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show the verdicts", "code_prompt_hide": "Hide the verdicts"}
for experiment, stored in zip(experiments, recorded):
    display(table_html(decided(experiment.name, stored, recorded), f"Claims about {experiment.name.replace('_', ' ')}, what decides each, and the verdict."))

# %% [markdown]
# ## What these numbers do not say
#
# - One generator of each family, one for each data set: intervals cover trainings of classifiers, not of generators.
# - The VAE and the GAN have less than a third of the parameters of the diffusion model. Trained on 10,000 images, they saw fewer in training; trained on 2,000, as many or more. They are of a kind that was current some years ago; a better GAN may do better.
# - Two classes may be easier than ten. Five merged classes are compared with five single ones, one from each pair.
# - A cost is the error beyond that of real images with the same trait. Wrong labels and texture harm these as well, so a cost may fall where both errors rise: see the table.
# - MNIST is scored on 1,000 test images, and wrong labels are among the training images only.
# - Changes are compared after equally many images, not at equal cost: a wider network takes more time for each.
# - At 4,000 per class, 10,000 images are added to 40,000; elsewhere as many as there are. Compare its cost, not its gain.
#
# ## Does it still run?

# %% tags=["hide-cell"] mystnb={"code_prompt_show": "Show this build beside the recorded run", "code_prompt_hide": "Hide this build"}
table_html(side_by_side(lambda frames: figures.numbers(*frames), live, recorded), "Numbers of this chapter, with 95 % intervals.")

# %% [markdown]
# ## What to do with your data
#
# Each row is computed from a recorded run: "open" where its interval allows both.

# %% tags=["hide-input"]
table_html(figures.what_to_do(shown, recorded), "Which generator would you take? Questions, what was measured, and what follows.")
