"""Find the images that a network is slow to learn, let a diffusion model make new ones of them, train on all of them.

Some two minutes on two cores; the new images, which take most of them, are kept in the cache folder.
"""

import torch
from torch.utils.data import DataLoader, RandomSampler, Subset

import synaug
from synaug.classifiers import accuracy, predict
from synaug.data.torch_datasets import TorchImages, from_torch
from synaug.generators.training import trained_on

_, seen = trained_on("fashion_mnist")  # of these the generator may make more: it has seen no others
real = from_torch(Subset(seen, range(300)))  # any torch Dataset of (image, label) will do
small = synaug.build_classifier("resnet8", real.image_shape, real.num_classes, seed=0)
early = synaug.warm_up(small, real.images, real.labels, steps=200, seed=0)
slow = synaug.select("slow_learnable", early)
pool = synaug.generate_pool(synaug.load_denoiser("fashion_mnist"), real, slow.indices, k=3, sigmas=(0.5, 1.0))

steps = 300  # however large the set has become, so that a gain is not one of longer training
items = TorchImages(synaug.with_generated(real, pool).data, lambda image: image / 127.5 - 1)
model = synaug.build_classifier("resnet8", real.image_shape, real.num_classes, seed=1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
for images, labels in DataLoader(items, batch_size=128, sampler=RandomSampler(items, num_samples=steps * 128)):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()

test = synaug.load_dataset("fashion_mnist", "test").subset(range(1000))
score = accuracy(predict(model, test.images), test.labels)
print(f"{len(real)} real images, {len(slow)} of them slow, {len(pool)} generated: test accuracy {score:.3f}")
