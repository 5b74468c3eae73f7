"""What targeted selection adds to the training that its warm-up is.

    python tests/benchmarks/bench_selection.py             # ten minutes on two cores
    python tests/benchmarks/bench_selection.py --small     # 1,000 images, two pairs: fixed costs weigh more

The warm-up of ResNet-8 on Fashion-MNIST, which keeps each example's logits as it goes, and the selection of the
slow-learnable; against the same steps of training without either, in turns in one process. Three passes, the fewest
that a curve can be read from, are what a selection could weigh most against. Two percent are less than what two
trainings differ by on most machines, so the bound is for what is added as timed by itself: the calls that keep the
logits, and the selection. Medians over pairs; exit status 1 where that is beyond the bound. On a machine that is never
idle, take OMP_NUM_THREADS=1 and --clock processor.
"""

import sys

import torch
from measuring import CLOCKS, in_turns, median_ratio, turns_parser, verdict

from synaug.augmentation.selection import select
from synaug.classifiers import build_classifier, train_classifier
from synaug.classifiers import warm_up as warming_up
from synaug.data import load_dataset, stratified_subset

BOUND = 0.02
PASSES, BATCH_SIZE = 3, 128


class Timed:
    """`train_classifier` with a clock around the observer: seconds, those of its calls in the last training."""

    def __init__(self, clock):
        self.clock, self.seconds = CLOCKS[clock], 0.0

    def __call__(self, *arguments, observe, **options):
        self.seconds = 0.0

        def observed(*seen):
            start = self.clock()
            over = observe(*seen)
            self.seconds += self.clock() - start
            return over

        return train_classifier(*arguments, observe=observed, **options)


def main() -> int:
    parser = turns_parser(__doc__)
    parser.add_argument("--small", action="store_true", help="1,000 images, two pairs")
    options = parser.parse_args()
    n, pairs = (1_000, 2) if options.small else (10_000, options.pairs)
    real = stratified_subset(load_dataset("fashion_mnist"), n, seed=0)
    last = -(-PASSES * n // BATCH_SIZE) - 1  # the step that ends the last pass
    whole = {"steps": 4 * last, "batch_size": BATCH_SIZE, "seed": 0}
    timed, kept, keeping = Timed(options.clock), {}, []
    warming_up.train_classifier = timed

    def new():
        return build_classifier("resnet8", real.image_shape, real.num_classes, seed=0)

    def training():
        kept["trained"] = train_classifier(new(), real.images, real.labels, observe=lambda step, *_: step == last, **whole)

    def warm_up():
        kept["early"] = new()
        kept["evidence"] = warming_up.warm_up(kept["early"], real.images, real.labels, passes=PASSES, **whole)
        keeping.append(timed.seconds)

    def selection():
        kept["slow"] = select("slow_learnable", kept["evidence"])

    jobs = {"training": training, "warm-up": warm_up, "selection": selection}
    warm_up(), selection(), training()  # libraries are loaded and warm
    assert torch.equal(kept["early"].head.weight, kept["trained"].head.weight)  # the same training
    keeping.clear()
    print(
        f"{n:,} images, {PASSES} passes in {last + 1} steps of {BATCH_SIZE}, {torch.get_num_threads()} threads, "
        f"{options.clock} time; {len(kept['slow'])} are slow-learnable"
    )
    found = in_turns(jobs, pairs, options.clock)
    added = [a + b for a, b in zip(keeping, found["selection"])]
    together = [a + b for a, b in zip(found["warm-up"], found["selection"])]
    ratio = median_ratio(added, found["training"])
    print(f"training {min(found['training']):.2f} s, keeping logits {min(keeping):.3f} s, selection {min(found['selection']):.3f} s")
    print(f"added / training {ratio:.4f} (bound {BOUND}); warm-up and selection / training {median_ratio(together, found['training']):.4f}")
    return verdict([ratio <= BOUND])


if __name__ == "__main__":
    sys.exit(main())
