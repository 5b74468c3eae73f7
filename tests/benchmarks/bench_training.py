"""Training a ResNet against a plain loop of torchvision's transforms and a DataLoader.

    python tests/benchmarks/bench_training.py              # minutes on two cores
    python tests/benchmarks/bench_training.py --small      # 12 steps of two pairs
    python tests/benchmarks/bench_training.py --device cuda --architecture resnet18 --workers 4

The same network, batches of 128, SGD, learning rates and augmentation (flips, shifts by up to three pixels with
reflected borders) on Fashion-MNIST. The plain loop takes each image from a data set by torchvision's transforms of
Pillow images, as torchvision's own data sets give them, or of tensors (v2); with the precision of `train_classifier`
on this machine, and float32 for both. The whole training, and the images alone: everything but the network. In turns
in one process; medians over pairs; exit status 1 where a bound is missed.

--workers: processes of the DataLoader; on a CPU they take cores from the network, and their processor time is not
counted by --clock processor. On a machine that is never idle, take OMP_NUM_THREADS=1, --clock processor, no workers.
"""

import sys
from functools import partial

import torch
from measuring import in_turns, median_ratio, turns_parser, verdict
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms as v1
from torchvision.transforms import v2

from synaug.classifiers import accuracy, build_classifier, predict, train_classifier
from synaug.classifiers import training as classifier_training
from synaug.classifiers.training import RECIPES, as_floats, augment_batch, batch_order, learning_rate_factor
from synaug.data import load_dataset, stratified_subset
from synaug.precision import fast_precision

BATCH_SIZE, PAD = 128, 28 // 8
PILLOW = v1.Compose([v1.RandomHorizontalFlip(), v1.RandomCrop(28, PAD, padding_mode="reflect"), v1.ToTensor(), v1.Normalize([0.5], [0.5])])
TENSORS = v2.Compose(
    [v2.RandomHorizontalFlip(), v2.RandomCrop(28, PAD, padding_mode="reflect"), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
)


class Images(Dataset):
    """Items as torchvision's data sets of small images have them: transform(a Pillow image or a tensor), label."""

    def __init__(self, data, transform):
        self.data, self.transform = data, transform

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image = self.data.images[index]
        if self.transform is PILLOW:
            image = Image.fromarray(image[0].numpy(), mode="L")
        return self.transform(image), int(self.data.labels[index])


def loader(items, steps, workers, device):
    sampler = RandomSampler(items, num_samples=steps * BATCH_SIZE)
    return DataLoader(items, BATCH_SIZE, sampler=sampler, num_workers=workers, pin_memory=device != "cpu")


def plain_loop(model, batches, steps, precision, device):
    recipe = RECIPES["one_cycle"]
    model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), recipe["lr"], 0.9, nesterov=True, weight_decay=recipe["weight_decay"])
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: learning_rate_factor("one_cycle", (i + 0.5) / steps))
    for images, labels in batches:
        images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return model.eval()


def our_images(data, steps, device):
    """What `train_classifier` does for its images, without the network."""
    generator, images, labels = torch.Generator().manual_seed(0), data.images.to(device), data.labels.to(device)
    for index in batch_order(len(data), BATCH_SIZE, steps, seed=0).to(device):
        augment_batch(as_floats(images[index]), "flip_crop", generator), labels[index]


def compare(data, test, steps, options):
    """Prints the times and ratios; returns whether ours is at least as fast as both plain loops in every precision."""
    models, jobs = {}, {}

    def new():
        return build_classifier(options.architecture, data.image_shape, data.num_classes, seed=0)

    def ours(name, precision):
        classifier_training.fast_precision = lambda device: precision
        models[name] = train_classifier(new(), data.images, data.labels, steps=steps, batch_size=BATCH_SIZE, seed=0, augment="flip_crop", device=options.device)

    def plain(name, precision, transform):
        batches = loader(Images(data, transform), steps, options.workers, options.device)
        models[name] = plain_loop(new(), batches, steps, precision, options.device)

    fast = fast_precision(options.device)
    for precision in dict.fromkeys([fast, torch.float32]):
        jobs["synaug", precision] = partial(ours, ("synaug", precision), precision)
        for name, transform in (("Pillow", PILLOW), ("tensors", TENSORS)):
            jobs[name, precision] = partial(plain, (name, precision), precision, transform)
    for job in jobs.values():
        job()  # libraries are loaded and warm
    found = in_turns(jobs, options.pairs, options.clock, options.device)
    for name, precision in jobs:
        score = accuracy(predict(models[name, precision], test.images), test.labels)
        a_step = min(found[name, precision]) / steps
        print(f"{name}, {precision}: {1e3 * a_step:.1f} ms a step, {BATCH_SIZE / a_step:,.0f} images a second, test accuracy {100 * score:.1f} %")
    ratios = {job: median_ratio(found[job], found["synaug", job[1]]) for job in jobs if job[0] != "synaug"}
    print("faster than the plain loop by " + ", ".join(f"{r:.2f} ({name}, {precision})" for (name, precision), r in ratios.items()) + " (bound 1)")
    if fast != torch.float32:
        whole = median_ratio(found["Pillow", torch.float32], found["synaug", fast])
        print(f"the precision included, than the float32 loop of Pillow images by {whole:.2f}")
    return min(ratios.values()) >= 1


def compare_images(data, steps, options):
    """Prints the ratios of everything but the network; returns whether ours is several times as fast as both."""

    def drained(transform):
        for images, labels in loader(Images(data, transform), steps, options.workers, options.device):
            images.to(options.device), labels.to(options.device)

    jobs = {"synaug": lambda: our_images(data, steps, options.device), "Pillow": lambda: drained(PILLOW), "tensors": lambda: drained(TENSORS)}
    for job in jobs.values():
        job()
    found = in_turns(jobs, options.pairs, options.clock, options.device)
    ratios = {name: median_ratio(found[name], found["synaug"]) for name in ("Pillow", "tensors")}
    print("images alone: " + ", ".join(f"{name} {1e3 * min(found[name]) / steps:.2f} ms a batch" for name in jobs))
    print("faster than the plain loop's by " + ", ".join(f"{r:.1f} ({name})" for name, r in ratios.items()) + " (bound 3)")
    return min(ratios.values()) >= 3


def main() -> int:
    parser = turns_parser(__doc__, pairs=5)
    parser.add_argument("--small", action="store_true", help="12 steps, two pairs")
    parser.add_argument("--architecture", choices=("resnet8", "resnet18"), default="resnet8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()
    steps = 100
    if options.small:
        steps, options.pairs = 12, 2
    data = stratified_subset(load_dataset("fashion_mnist"), 10_000, seed=0)
    test = stratified_subset(load_dataset("fashion_mnist", "test"), 1_000, seed=0)
    print(
        f"{options.architecture}, {steps} steps of {BATCH_SIZE}, {options.device}, {torch.get_num_threads()} "
        f"threads, {options.workers} workers, {options.clock} time"
    )
    return verdict([compare(data, test, steps, options), compare_images(data, steps, options)])


if __name__ == "__main__":
    sys.exit(main())
