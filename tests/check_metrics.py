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
# What the metrics say where the answer is known. One fact per cell.

# %%
from dataclasses import replace

import torch

from synaug import audit, compare_with_floor, draw_splits, encode, load_dataset
from synaug.classifiers import output_entropy
from synaug.metrics import centroid_distance_ratio, frechet_distance, nearer_than, nearest, prdc, two_sample_auc
from synaug.metrics.neighbours import neighbourhoods
from synaug.statistics import mean_interval
from synaug.statistics.claims import load_published

draw = torch.Generator().manual_seed(0)
real = torch.randn(1000, 8, generator=draw)
fresh = torch.randn(1000, 8, generator=draw)

# %%
print({name: round(value, 3) for name, value in prdc(real, real, k=5).items()})

# %%
print({name: round(value, 1) for name, value in prdc(real, fresh, k=5).items()})

# %%
shrunk = 0.5 * fresh
print({name: round(value, 1) for name, value in prdc(real, shrunk, k=5).items() if name in ("precision", "recall")})
print(round(neighbourhoods(real, shrunk, k=5).indicators()["outer_edge_recall"].mean().item(), 1))

# %%
copied = torch.cat([fresh[:900], real[:100] + 1e-3])
near = nearer_than(nearest(copied, real)[0], nearest(fresh, real)[0], quantile=0.01)
print(near[:900].sum().item() <= 10, near[900:].all().item())

# %%
moved = fresh + torch.tensor([2.0] + [0.0] * 7)
print(*(round(two_sample_auc(real, other).estimate, 1) for other in (fresh, moved)))

# %%
labels = torch.zeros(1000, dtype=torch.int64)
print(round(centroid_distance_ratio(real, shrunk, labels, labels), 1))

# %%
far = torch.randn(100_000, 8, generator=draw)
print(round(frechet_distance(far, far + torch.tensor([2.0] + [0.0] * 7)), 3))

# %%
probabilities = torch.stack([torch.full((10,), 0.1), torch.eye(10)[0]])
print([round(value, 3) + 0.0 for value in output_entropy(probabilities).tolist()])
print(max(load_published()["fig8_entropy_as_plotted"]["test"]))

# %%
interval = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
print(round(interval.estimate, 3), round(interval.low, 3), round(interval.high, 3))

# %% [markdown]
# Pale images against fresh real ones: which metrics are lower.

# %%
images, others, third = (part.floats() for part in draw_splits(load_dataset("digits"), 10, 10, 10, seed=0))
features, fresh_features, pale = (encode(x, "pixels") for x in (images, others, 0.5 * third - 0.5))
print(tuple(encode(images[:2]).shape), tuple(features.shape))
table = compare_with_floor(features, fresh_features, {"pale": pale}, n_bootstrap=0)
table = table.pivot(index="metric", columns="arm", values="value")
print((table["pale"] < table["fresh real"]).to_string())

# %% [markdown]
# The audit of one's own images: other real images cross no threshold, negatives of them do.

# %%
own, other = draw_splits(load_dataset("digits"), 60, 40, seed=0)
print(audit(own, other, encoder="pixels").passed)
print(audit(own, replace(other, images=255 - other.images), encoder="pixels").passed)
