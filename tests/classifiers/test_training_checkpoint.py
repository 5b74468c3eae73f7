"""A classifier's training that was cut goes on from its file and ends as one that was not, bit for bit."""

import pytest
import torch
from nested import same

from synaug.classifiers import build_classifier, train_classifier
from synaug.classifiers import checkpoint as training_checkpoint
from synaug.classifiers import training as classifier_training

IMAGES = torch.randint(0, 256, (40, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LABELS = torch.arange(40) % 4
STEPS = 9
ORDER = torch.arange(STEPS * 8).view(STEPS, 8) % 40


class Cut(Exception):
    pass


def train(checkpoint=None, images=IMAGES, dropout=0.0, **options):
    model = build_classifier("vgg5", (1, 8, 8), 4, seed=0, width=4)
    model.head = torch.nn.Sequential(torch.nn.Dropout(dropout), model.head) if dropout else model.head
    return train_classifier(model, images, LABELS, **{"steps": STEPS, "seed": 1, "batch_size": 8, "checkpoint": checkpoint, **options})


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.fixture
def often(monkeypatch):
    """State is written after every step."""
    monkeypatch.setattr(training_checkpoint, "EVERY", 0)


def cut_before(step, monkeypatch):
    """A training that comes to this step raises `Cut`, once."""
    rate = classifier_training.learning_rate_factor

    def cutting(recipe, progress):
        if progress >= (step + 0.5) / STEPS:
            monkeypatch.setattr(classifier_training, "learning_rate_factor", rate)
            raise Cut
        return rate(recipe, progress)

    monkeypatch.setattr(classifier_training, "learning_rate_factor", cutting)


def test_dropout_is_decided_by_the_seed():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, other = (weights(train(dropout=0.5, seed=seed, augment="none", order=ORDER)) for seed in (1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert same(weights(train(dropout=0.5, seed=1, augment="none", order=ORDER)), first) and not same(first, other)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.5},
        {"dropout": 0.5, "optimizer": "sam"},
        {"optimizer": "sam", "augment": "flip_crop_trivial", "recipe": "two_drops"},
        {"augment": "flip_crop", "recipe": "fast"},
    ],
)
def test_goes_on_as_if_it_had_not_been_cut(options, often, tmp_path, monkeypatch):
    uncut, path = weights(train(**options)), tmp_path / "folder" / "state"
    for step in (3, 7):
        cut_before(step, monkeypatch)
        with pytest.raises(Cut):
            train(path, **options)
        assert torch.load(path, weights_only=True)["step"] == step
    steps = []
    rate = classifier_training.learning_rate_factor
    monkeypatch.setattr(classifier_training, "learning_rate_factor", lambda *given: steps.append(given) or rate(*given))
    assert same(weights(train(path, **options)), uncut)
    assert len(steps) == STEPS - 7


def test_nothing_is_written_within_a_minute(tmp_path):
    train(tmp_path / "state")
    assert not any(tmp_path.iterdir())


def test_another_training_is_refused(often, tmp_path):
    path = tmp_path / "state"
    train(path)
    for other in ({"seed": 2}, {"recipe": "paper"}, {"images": IMAGES.flip(0)}):
        with pytest.raises(ValueError, match="holds another training: choose another file"):
            train(path, **other)
    torch.save(build_classifier("vgg5", (1, 8, 8), 4, seed=0, width=4).state_dict(), path)
    with pytest.raises(ValueError, match="holds another training"):
        train(path)


@pytest.mark.parametrize(
    "damaged",
    [
        lambda content: content[:1000],
        lambda content: content[:-4000] + bytes(byte ^ 1 for byte in content[-4000:-3000]) + content[-3000:],
        lambda content: content[: len(content) // 2] + bytes(byte ^ 1 for byte in content[len(content) // 2 :][:200]) + content[len(content) // 2 + 200 :],
    ],
)
def test_a_damaged_file_is_a_warning(damaged, often, tmp_path):
    path = tmp_path / "state"
    uncut = weights(train(path))
    path.write_bytes(content := damaged(path.read_bytes()))
    with pytest.warns(UserWarning, match="cannot be read .* from the start"):
        assert same(weights(train(path)), uncut)
    assert path.with_name("state.unreadable").read_bytes() == content  # it may be somebody's file


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError):
        train(tmp_path)


def test_a_full_disk_is_a_warning(often, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_checkpoint, "write_atomically", full)
    with pytest.warns(UserWarning, match="could not be kept .*No space left"):
        assert same(weights(train(tmp_path / "state")), weights(train()))


def test_observers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="give either observe or checkpoint"):
        train(tmp_path / "state", observe=lambda *seen: None)
