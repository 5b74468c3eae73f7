"""The README's figure: ``python -m synaug.figures.teaser`` draws it again from the recorded run."""

import io

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from synaug import paths
from synaug.experiments import mode_concentration as experiment
from synaug.experiments.mode_concentration_views import shown_images
from synaug.figures.curves import COLOURS, draw, select, sigma_axis, theme
from synaug.run.results import load_recorded


def teaser(images, frame, levels):
    """The same images at every level, and what classifiers trained on such images score.

    images: uint8 ``[L, n, C, H, W]``, n images (one a class, say) from real to fully synthetic.
    frame: results of `synaug.experiments.mode_concentration`. levels: the L levels t_re of the images.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.2), width_ratios=(1.5, 1), layout="constrained")
    grid = images.permute(0, 3, 1, 4, 2).numpy()  # [L, H, n, W, C]
    rows = np.concatenate([level.reshape(level.shape[0], -1, level.shape[-1]) for level in grid])
    left.imshow(rows, cmap="gray")
    height = images.shape[-2]
    left.set_yticks([height * (i + 0.5) for i in range(len(levels))],
                    ["real" if level == 0 else f"t_re = {level}" for level in levels])
    left.set_xticks([])
    left.grid(False)
    for spine in left.spines.values():
        spine.set_visible(False)
    draw(right, select(frame, "test_accuracy"), COLOURS["train"], "", scale=100)
    sigma_axis(right, frame)
    right.set_ylabel("test accuracy of a classifier\ntrained on such images (%)")
    return figure


def main():
    theme()
    sweep, settings = experiment.prepare(profile="quick")
    levels = settings["reverse_steps"]
    frame = load_recorded(experiment.EXPERIMENT, "standard")
    path = paths.ROOT / "book" / "assets" / "teaser.png"
    figure = teaser(shown_images(sweep, levels, per_class=1), frame, levels)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=120, facecolor="white")
    # 64 colours are enough, and half of the bytes, which every clone carries.
    Image.open(drawn).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"drawn: {path}")


if __name__ == "__main__":
    main()
