"""How near do a diffusion model's images come to fresh real ones? Half a minute on two cores."""

import synaug

test = synaug.load_dataset("fashion_mnist", "test")  # the generator has not seen these
sources, reference, fresh = synaug.draw_splits(test, 20, 20, 20, seed=0)
denoiser = synaug.load_denoiser("fashion_mnist")
made = synaug.reconstruct(denoiser, sources.floats(), sources.labels, reverse_step=50, stride=5).images
features = [synaug.encode(images) for images in (reference.floats(), fresh.floats(), made)]
table = synaug.compare_with_floor(features[0], features[1], {"reconstructions": features[2]})
print(table[["arm", "metric", "value", "low", "high"]].round(2).to_string(index=False))
