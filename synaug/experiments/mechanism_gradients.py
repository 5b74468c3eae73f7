"""What the gradients of a network on fast, slow and generated images are made of: premises and consequences of the
two-layer theory, as rows of `synaug.experiments.mechanism`."""

import torch

from synaug.classifiers import predict
from synaug.theory.gradient_statistics import relative_set_variance

#: Kinds of members of a training set: fast and slow real images, then copies.
FAST, SLOW, COPY = 0, 1, 2


def losses_of(model, data):
    """Cross-entropy of each image and whether it is misclassified, both float64 ``[N]``, in evaluation mode."""
    probabilities = predict(model, data.images).double()
    own = probabilities.gather(1, data.labels[:, None])[:, 0].clamp_min(torch.finfo(torch.float32).tiny)
    return -own.log(), (probabilities.argmax(1) != data.labels).double()


class Members:
    """Real images and all copies as members of sources and groups, see `gradient_statistics`.

    made: pools by noise level. group: the images of one class that are fast, slow, or one copy of slow ones.
    kind: `FAST`, `SLOW`, or COPY + c for the copies with the place c among those of all pools; the first copies made
    at a level have first_copy[level].
    """

    def __init__(self, data, slow, made):
        kinds, sources = [torch.full((len(data),), FAST).index_fill_(0, slow, SLOW)], [torch.arange(len(data))]
        self.first_copy, following = {}, COPY
        for sigma, pool in made.items():
            self.first_copy[sigma] = following
            kinds.append(following - 1 + torch.from_numpy(pool.provenance["copy"].to_numpy(copy=True)))
            sources.append(torch.from_numpy(pool.provenance["source"].to_numpy(copy=True)))
            following += pool.k - 1
        self.images = torch.cat([data.images, *(pool.data.images for pool in made.values())])
        self.labels = torch.cat([data.labels, *(pool.data.labels for pool in made.values())])
        self.kind, self.source = torch.cat(kinds), torch.cat(sources)
        self.group = (self.kind * data.num_classes + self.labels).unique(return_inverse=True)[1]

    def of(self, kind):
        """int64, the members of a kind, by source."""
        found = (self.kind == kind).nonzero().flatten()
        return found[self.source[found].argsort()]

    def weights(self, arm, k, sigma):
        """Weights of a training set, float64 ``[T]``, and its number of examples."""
        by_kind = torch.zeros(int(self.kind.max()) + 1, dtype=torch.float64)
        by_kind[[FAST, SLOW]] = 1
        if arm == "upsampled":
            by_kind[SLOW] = k
        elif arm == "generated":
            by_kind[self.first_copy[sigma]:self.first_copy[sigma] + k - 1] = 1
        weights = by_kind[self.kind]
        return weights / weights.sum(), int(weights.sum())


def premises(products, members, model):
    """Rows of what the theory takes for granted: what generated examples have of their sources, a row a noise level;
    and the mean loss of fast, slow and generated ones."""
    first, squares = members.of(SLOW), products.squares()
    losses = losses_of(model, members)[0]
    rows = [{"arm": name, "sigma": 0.0, "metric": "loss", "value": losses[members.of(kind)].mean().item()}
            for name, kind in (("fast", FAST), ("slow", SLOW))]
    for sigma, kind in members.first_copy.items():
        second = members.of(kind)
        found = {"same_source_correlation": products.same_source_correlation(first, second),
                 "synthetic_strength": (squares[second].sum() / squares[first].sum()).item(),
                 "feature_ratio": products.mean_ratio(first, second), "loss": losses[second].mean().item()}
        rows += [{"arm": "generated", "sigma": sigma, "metric": metric, "value": value}
                 for metric, value in found.items()]
    return rows


def consequences(products, members, sets, batch_size):
    """Rows of what the theory says of the training sets: variances, alignment with noise, and the speed of learning."""
    slow, fast, rows = members.of(SLOW), members.of(FAST), []
    alpha = len(fast) / (len(slow) + len(fast))
    for arm, k, sigma in sets:
        weights, size = members.weights(arm, k, sigma)
        batch, over_sets = products.batch_variance(weights, batch_size, size), products.set_variance(weights)
        subset = (members.kind >= SLOW) * weights  # of copies, each counts
        speed, own, correlation = products.speed(weights), products.own_alignment(weights), 1.0
        if arm == "generated":
            correlation = products.same_source_correlation(slow, members.of(members.first_copy[sigma]))
        found = {"batch_variance": batch, "set_variance": over_sets, "set_share": over_sets / (batch + over_sets),
                 "set_variance_formula": relative_set_variance(k, alpha, correlation),
                 "noise_align": ((subset * products.alignment(weights).abs()).sum() / subset.sum()).item(),
                 "noise_align_own": ((subset * own).sum() / subset.sum()).item(),
                 "own_share": (own[slow].mean() / speed[slow].mean()).item(),
                 "speed_slow": speed[slow].mean().item(), "speed_fast": speed[fast].mean().item()}
        rows += [{"arm": arm, "sigma": sigma, "x": float(k), "metric": metric, "value": value}
                 for metric, value in found.items()]
    return rows
