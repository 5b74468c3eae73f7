"""What a step of the recipe "fast" costs beyond its network, and whether several networks train faster at once.

    python tests/benchmarks/bench_fast_classifier.py                               # a minute of one core
    python tests/benchmarks/bench_fast_classifier.py --device cuda --batch 512 --steps 50 --models 8

`train_classifier` of a ResNet-9 (images by their indices, flips and shifts, the schedule, what a step that fails goes
back to) against a bare loop of forward pass, loss, backward pass and SGD on one ready batch; exit status 1 where the
ratio is beyond the bound. Then forward and backward passes of several networks, each on a batch of its own, one after
the other and at once (`torch.func`: stacked weights under vmap, which makes their convolutions grouped ones): no bound,
since `train_classifier` trains one network. In turns in one process. On a machine that is never idle, take
OMP_NUM_THREADS=1 and --clock processor.
"""

import sys

import torch
from measuring import in_turns, median_ratio, turns_parser, verdict
from torch.func import functional_call, stack_module_state
from torch.nn import functional as F

from synaug.classifiers import build_classifier, train_classifier
from synaug.classifiers.training import RECIPES
from synaug.precision import channels_last, fast_precision

BOUND = 1.15
SHAPE, CLASSES = (3, 32, 32), 10


def new(device, seed=0):
    return channels_last(build_classifier("resnet9", SHAPE, CLASSES, seed).to(device))


def ready(images):
    return images.to(memory_format=torch.channels_last)


def step_against_network(options):
    """Jobs of as many steps of the recipe, and of the bare network on a ready batch."""
    recipe, precision, n = RECIPES["fast"], fast_precision(options.device), options.steps * options.batch
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, *SHAPE), generator=draws, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (n,), generator=draws)
    model, bare = new(options.device), new(options.device).train()
    batch = ready(images[: options.batch].to(options.device).float() / 127.5 - 1)
    target = labels[: options.batch].to(options.device)
    optimizer = torch.optim.SGD(bare.parameters(), recipe["lr"] / 100, 0.9, nesterov=True, weight_decay=recipe["weight_decay"])

    def network():
        for _ in range(options.steps):
            with torch.autocast(options.device, precision, enabled=precision != torch.float32):
                loss = F.cross_entropy(bare(batch), target, label_smoothing=recipe["label_smoothing"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return {
        "recipe": lambda: train_classifier(
            model, images, labels, steps=options.steps, seed=0, recipe="fast", batch_size=options.batch, augment="flip_crop", device=options.device
        ),
        "network": network,
    }


def several(options):
    """Jobs of one forward and backward pass of each of several networks."""
    device, precision = options.device, fast_precision(options.device)
    models = [new(device, seed).train() for seed in range(options.models)]
    weights, buffers = stack_module_state(models)
    empty = build_classifier("resnet9", SHAPE, CLASSES, 0).to("meta")
    images = torch.randn(options.models, options.batch, *SHAPE, device=device)
    batches = [ready(own) for own in images]
    labels = torch.randint(0, CLASSES, (options.models, options.batch), device=device)

    def loss(weights, buffers, images, labels):
        return F.cross_entropy(functional_call(empty, (weights, buffers), (images,)), labels)

    def at_once():
        with torch.autocast(device, precision, enabled=precision != torch.float32):
            total = torch.vmap(loss)(weights, buffers, images, labels).sum()
        torch.autograd.grad(total, list(weights.values()))

    def in_sequence():
        for model, own, target in zip(models, batches, labels):
            with torch.autocast(device, precision, enabled=precision != torch.float32):
                alone = F.cross_entropy(model(own), target)
            torch.autograd.grad(alone, list(model.parameters()))

    return {"at once": at_once, "one after the other": in_sequence}


def main() -> int:
    parser = turns_parser(__doc__, pairs=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--models", type=int, default=3)
    options = parser.parse_args()
    print(f"resnet9, batches of {options.batch}, {options.device}, {fast_precision(options.device)}, {torch.get_num_threads()} threads, {options.clock} time")
    ratios = []
    for jobs in (step_against_network(options), several(options)):
        for job in jobs.values():
            job()  # libraries are loaded, kernels chosen
        found = in_turns(jobs, options.pairs, options.clock, options.device)
        first, second = (min(seconds) for seconds in found.values())
        ratios.append(first / second)
        print(f"{' against '.join(jobs)}: {first / second:.3f} (median over pairs {median_ratio(*found.values()):.3f})")
        if "recipe" in jobs:
            print(f"{options.steps * options.batch / first:,.0f} images a second (bound of the ratio {BOUND})")
    return verdict([ratios[0] <= BOUND])


if __name__ == "__main__":
    sys.exit(main())
