"""A class-conditional GAN for few images, its inversion, and its training.

A convolutional generator with conditional batch norm against a discriminator with spectral norm and a projection head
(Miyato & Koyama 2018), hinge loss, and an augmentation of all that the discriminator sees (DiffAugment, Zhao et al.
2020). Classes come in after a while only: on little data a GAN that is conditional from the start may collapse
(Shahbazi et al. 2022).
"""

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from synaug.checks import whole
from synaug.data import ImageDataset, to_floats
from synaug.diffusion.recipe import batch_of, learning_rate
from synaug.diffusion.trainer import LOOK_EVERY, Trainer
from synaug.generators.latent import LatentGenerator
from synaug.seeds import seeded

#: Of the Adam steps that improve what the encoder says of an image: the rate of the first, from which it falls to 0.
INVERSION_RATE = 0.1
#: Steps of the discriminator for each of the generator; images whose statistics stand in evaluation.
DISCRIMINATOR_STEPS, STANDING = 2, 1000


class GAN(LatentGenerator):
    """Latent vectors are standard normal, also those of images, as far as the generator can make them.

    An image's is found by an encoder that was trained on the generator's own samples, then by ``inversion_steps`` (100)
    steps of Adam on the squared error. Reconstruction goes from there to a random one on the sphere: by the angle whose
    sine is the strength where the two are at right angles, as in many dimensions they nearly are.
    """

    family, narrower, batch = "gan", 2, True
    inversion_steps = 100

    def decode(self, z: Tensor, labels: Tensor, amount: float = 1.0) -> Tensor:
        """Images in [-1, 1] of latent vectors. amount: how much of the class comes in, 0..1."""
        return self.decoded(z, labels, amount).tanh()

    @torch.no_grad()
    def settle(self, seed: int = 0) -> None:
        """Set the statistics of batch norm for evaluation: those of one large batch of all classes (standing
        statistics, Brock et al. 2019)."""

        def measure(norm, inputs):
            norm.mean.copy_(inputs[0].mean((0, 2, 3)))
            norm.var.copy_(inputs[0].var((0, 2, 3), correction=0))

        hooks = [norm.register_forward_pre_hook(measure) for norm in self.norms]
        labels = torch.arange(max(STANDING, 10 * self.num_classes)) % self.num_classes
        z = torch.randn(len(labels), self.latent, generator=torch.Generator().manual_seed(seed))
        device = self.classes.weight.device
        self.eval().decode(z.to(device), labels.to(device))
        for hook in hooks:
            hook.remove()

    def settings(self) -> dict:
        return {"inversion_steps": whole("inversion_steps", self.inversion_steps, 0)}

    def encode(self, images: Tensor, labels: Tensor) -> Tensor:
        z = self.encoded(images, labels)
        with torch.inference_mode(False), torch.enable_grad():
            # Tensors of inference mode, even weights that were loaded in it, take part in no gradient; copies do.
            images, labels, z = images.clone(), labels.clone(), z.detach().clone().requires_grad_()
            model = copy.deepcopy(self) if self.stem.weight.is_inference() else self
            adam = torch.optim.Adam([z], INVERSION_RATE)
            for step in range(self.inversion_steps):
                adam.param_groups[0]["lr"] = INVERSION_RATE * (1 - step / self.inversion_steps)
                # Summed over images, each of which thus goes its own way.
                error = (model.decode(z, labels) - images).square().flatten(1).mean(1).sum()
                (z.grad,) = torch.autograd.grad(error, z)
                adam.step()
        return z.detach()

    def draw(self, labels: Tensor, noise: Callable[..., Tensor]) -> Tensor:
        return noise(0, self.latent)

    def between(self, z: Tensor, drawn: Tensor, labels: Tensor, strength: float) -> Tensor:
        angle = F.cosine_similarity(z, drawn)[:, None].clamp(-1 + 1e-6, 1 - 1e-6).acos()
        part = 2 / math.pi * math.asin(strength)
        return (((1 - part) * angle).sin() * z + (part * angle).sin() * drawn) / angle.sin()

    def render(self, z: Tensor, labels: Tensor, noise: Callable[..., Tensor]) -> Tensor:
        return self.decode(z, labels)


class Discriminator(nn.Module):
    """Scores ``[N]`` of images and their classes: convolutions of stride 2 and one of stride 1, all under spectral
    norm, summed over places; a linear head, and the projection on the class (Miyato & Koyama 2018)."""

    def __init__(self, image_shape: tuple[int, ...], channels: tuple[int, ...], num_classes: int):
        super().__init__()
        widths = (image_shape[0], *channels)
        convolutions = [*(nn.Conv2d(here, below, 4, 2, 1) for here, below in pairwise(widths)), nn.Conv2d(widths[-1], widths[-1], 3, 1, 1)]
        self.body = nn.Sequential(*(nn.Sequential(spectral_norm(layer), nn.LeakyReLU(0.1)) for layer in convolutions))
        self.head = spectral_norm(nn.Linear(widths[-1], 1))
        self.classes = spectral_norm(nn.Embedding(2 * num_classes, widths[-1]))

    def forward(self, images: Tensor, labels: Tensor, amount: float = 1.0) -> Tensor:
        features = self.body(images).sum((2, 3))
        return self.head(features)[:, 0] + amount * (self.classes(labels) * features).sum(1)


def diff_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images moved by up to an eighth of their size, and a square of half their size cut out, both filled with 0.

    images: float ``[N, C, H, W]``; gradients go through. generator: on their device. "Translation" and "Cutout"
    of Zhao et al. 2020.
    """
    n, _, *sizes = images.shape

    def drawn(low, high):
        return torch.randint(low, high, (n, 1), generator=generator, device=images.device)

    shift = torch.cat([2 / size * drawn(-((size + 4) // 8), (size + 4) // 8 + 1) for size in reversed(sizes)], 1)
    move = torch.cat([torch.eye(2, device=images.device).expand(n, 2, 2), shift[..., None]], 2)
    grid = F.affine_grid(move, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, mode="nearest", align_corners=False)
    rows, columns = ((torch.arange(size, device=images.device) - drawn(0, size) + size // 4) // max(1, size // 2) == 0 for size in sizes)
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


class GANTrainer(Trainer):
    """A run of GAN training; see `Trainer`.

    A step has a batch of real images, of which each of two steps of the discriminator sees a half, one step of the
    generator, and one of the encoder on the generator's images. Adam with betas of 0 and 0.9. The training loss is the
    discriminator's hinge loss (2 where it cannot tell the two), the held-out one the mean squared error of what the
    encoder alone inverts.
    """

    def new_model(self, subset: ImageDataset) -> GAN:
        r = self.recipe
        model = GAN(subset.image_shape, subset.class_names, r.channels, r.latent, r.seed)
        with seeded(r.seed + 1, torch.device("cpu")):
            self.discriminator = Discriminator(model.image_shape, model.channels, model.num_classes)
        self.discriminator.to(self.device)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), r.learning_rate, (0.0, 0.9))
        return model

    def new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), self.recipe.learning_rate, (0.0, 0.9))

    def parts(self) -> dict[str, Any]:
        return {**super().parts(), "discriminator": self.discriminator, "discriminator_optimizer": self.discriminator_optimizer}

    @property
    def amount(self) -> float:
        """How much of the classes comes in, 0..1."""
        alone = self.recipe.unconditional
        return min(1.0, max(0.0, (self.step - alone) / alone)) if alone else 1.0

    def judged(self, images: Tensor, labels: Tensor) -> Tensor:
        """The discriminator's scores, computed in the model's number format."""
        with self.model.fast():
            return self.discriminator(images, labels, self.amount).float()

    def train_step(self) -> Tensor:
        """One step of the generator and two of the discriminator; the latter's mean loss, a tensor on the device."""
        model, amount = self.model, self.amount
        x, y, generator = batch_of(self.recipe, self.images, self.labels, model.num_classes, self.step)
        for group in (*self.optimizer.param_groups, *self.discriminator_optimizer.param_groups):
            group["lr"] = learning_rate(self.recipe, self.step)

        def latents(labels):
            return torch.randn(len(labels), model.latent, generator=generator, device=self.device)

        found = []
        for real, labels in zip(to_floats(x).chunk(DISCRIMINATOR_STEPS), y.chunk(DISCRIMINATOR_STEPS)):
            with torch.no_grad():
                fake = model.decode(latents(labels), labels, amount)
            seen = torch.cat([diff_augment(real, generator), diff_augment(fake, generator)])
            of_real, of_fake = self.judged(seen, labels.repeat(2)).chunk(2)
            found.append(F.relu(1 - of_real).mean() + F.relu(1 + of_fake).mean())
            self.discriminator_optimizer.zero_grad(set_to_none=True)
            found[-1].backward()
            self.discriminator_optimizer.step()
        self.loss = torch.stack(found).detach().mean()
        if self.device.type == "cpu" or self.step % LOOK_EVERY == 0:
            self.refuse_divergence()
        self.recent.append(self.loss)
        z = latents(labels)
        fake = model.decode(z, labels, amount)
        self.discriminator.requires_grad_(False)
        fooling = -self.judged(diff_augment(fake, generator), labels).mean()
        self.discriminator.requires_grad_(True)
        told = model.encoded(fake.detach(), labels, amount)
        self.optimizer.zero_grad(set_to_none=True)
        (fooling + F.mse_loss(told, z)).backward()
        self.optimizer.step()
        self.ema.step(model.parameters())
        self.step += 1
        return self.loss

    def draw(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        return ()

    def losses(self, model: Any, images: Tensor, labels: Tensor, *drawn: Tensor) -> Tensor:
        model.norms.train()  # by the statistics of these images
        z = model.encoded(images, labels, self.amount)
        return (model.decode(z, labels, self.amount) - images).square().flatten(1).mean(1)

    def finished(self) -> GAN:
        model = copy.deepcopy(self.model)
        model.precision = torch.float32  # the statistics are to be exact
        with torch.no_grad():
            model.classes.weight.mul_(self.amount)
        model.settle(self.recipe.seed)
        return model
