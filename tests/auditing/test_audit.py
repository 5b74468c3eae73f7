"""The audit of one's own images: planted defects are found, good images pass, bad input is a sentence and status 2."""

import io
import json
import os
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import synaug
from synaug.__main__ import main
from synaug.auditing import THRESHOLDS, check
from synaug.auditing.inputs import gather, halves, hashes
from synaug.auditing.measures import _of_real
from synaug.auditing.page import MEANINGS
from synaug.augmentation import with_real
from synaug.classifiers.last_layer import fit_linear
from synaug.data import ImageDataset, draw_splits, load_dataset, same_classes, save_image_folder, stratified_subset

digits = load_dataset("digits")
REAL, OTHER = draw_splits(digits, 75, 25, seed=0)
THREE = draw_splits(digits, 50, 25, 25, seed=1)  # real, held out, other


def changed(data, images=None, labels=None, names=None):
    return ImageDataset(data.images if images is None else images, data.labels if labels is None else labels, names or data.class_names)


def of_three_classes(n):
    """Fashion-MNIST's T-shirts, sandals and bags, n of each."""
    data = load_dataset("fashion_mnist", "test")
    kept = torch.cat([(data.labels == label).nonzero().flatten()[:n] for label in (0, 5, 8)])
    return changed(data.subset(kept), labels=torch.arange(3).repeat_interleave(n), names=("shirt", "sandal", "bag"))


def audit(*words):
    """What the command answers, of pixels and with no bar."""
    return main(["audit", *map(str, words), "--encoder", "pixels", "--quiet"])


def outputs(folder):
    """The files of an audit by their options, and the words that ask for them."""
    files = {option: folder / f"audit.{option}" for option in ("json", "html", "drop-list")}
    return files, [word for option, file in files.items() for word in (f"--{option}", file)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    return save_image_folder(REAL, root / "real"), save_image_folder(OTHER, root / "synthetic")


@pytest.fixture(scope="module")
def fine():
    return synaug.audit(REAL, OTHER, encoder="pixels")


def test_planted_defects_are_found_and_nothing_where_there_is_none():
    table = check(of_three_classes(150)).set_index("defect")
    assert table["ok"].all(), table.to_string()
    assert table.loc["copies", "found"] == 1 and table.loc["nothing", "false_alarms"] <= 0.05
    assert table["demanded"].to_dict() == {"copies": 0.95, "wrong labels": 0.5} | dict.fromkeys(("nothing", "blur", "dropped mode", "shifted class"), 1.0)


def test_other_real_images_pass_and_every_number_stands_beside_its_baseline(fine):
    assert fine.passed and fine.advice.startswith(("Add them", "They may be added"))
    rows = fine.numbers.set_index(["scope", "metric"])
    assert set(MEANINGS) == set(fine.numbers["metric"])
    assert fine.exchange.startswith("no rate: the ruler is flat")
    assert fine.numbers.loc[fine.numbers["metric"] != "exchange_rate", ["value", "low", "high"]].notna().all(axis=None)
    assert "held_out_near" in set(fine.numbers["metric"])
    alone = {"probe_gain_all", "held_out_seen", "best_ratio", "best_ratio_gain"}  # no real images stand in these places
    assert set(fine.numbers.loc[fine.numbers["baseline"].isna(), "metric"]) == alone
    measured = fine.numbers[fine.numbers["metric"] != "exchange_rate"]
    assert (measured["low"] <= measured["value"] + 1e-12).all() and (measured["value"] <= measured["high"] + 1e-12).all()
    assert rows.loc[("all", "two_sample_auc"), "low"] < 0.5 < rows.loc[("all", "two_sample_auc"), "high"] + 0.1
    assert set(rows.index.get_level_values(0)) == {"all", *digits.class_names}
    assert not fine.images["drop"].any() and len(fine.summary().splitlines()) == 10 + len(fine.notes)


def test_a_real_image_is_worth_about_one_real_image_and_noise_none():
    real, held, other = draw_splits(digits, 20, 60, 40, seed=3)
    found = synaug.audit(real, other, held, encoder="pixels")
    rate = found.value("exchange_rate")
    assert "Exchange rate" in found.html()
    assert 0.5 < rate["value"] < 2 and rate["low"] <= rate["value"] <= rate["high"] and rate["baseline"] == 1
    assert re.match(r"(?:at most )?([\d.]+) ", found.exchange)[1] == f"{rate['value']:.3g}"
    noise = torch.randint(0, 256, other.images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = synaug.audit(real, changed(other, noise), held, encoder="pixels")
    assert found.exchange.startswith("no rate, as nothing is gained") and found.value("exchange_rate")["value"] == np.inf
    assert "∞" in found.html() and "inf" not in re.sub(r"<[^>]*>|inform|infin", "", found.html().partition("</style>")[2])
    kept = {row["metric"]: row for row in json.loads(found.json())["numbers"]}
    assert kept["exchange_rate"]["value"] is None  # JSON has no infinity; the text says it


def test_numbers_of_copies_have_limits_and_those_of_real_images_beside_them():
    real, held, other = THREE
    twice = changed(real, torch.cat([real.images, real.images[:5]]), torch.cat([real.labels, real.labels[:5]]))
    made = changed(other, torch.cat([other.images, real.images[:3]]), torch.cat([other.labels, real.labels[:3]]))
    found = synaug.audit(twice, made, held, encoder="pixels")
    row = found.value("exact_copies_of_real")
    assert (row["value"], row["n"]) == (3, 253) and 1 < row["low"] < 3 < row["high"] < 9
    assert row["baseline"] == pytest.approx(253 * 5 / 755)  # of as many real images
    row = found.value("duplicates")
    assert row["value"] == 0 < row["high"] < 5 and row["baseline"] == pytest.approx(253 * 5 / 505)


@pytest.mark.parametrize(
    "made, advice, crossed",
    [
        (lambda g: torch.randint(0, 256, OTHER.images.shape, generator=g, dtype=torch.uint8), "Do not add them as they are", "precision"),
        (
            lambda g: REAL.images[: len(OTHER)] + torch.randint(0, 2, OTHER.images.shape, generator=g, dtype=torch.uint8) * (REAL.images[: len(OTHER)] < 250),
            "Do not add them: 100% are nearly copies",
            "near_copies",
        ),
        (
            lambda g: torch.nn.functional.avg_pool2d(OTHER.images.float(), 5, 1, 2).to(torch.uint8),
            "Mend them before you add them: many do not",
            "label_agreement",
        ),
    ],
    ids=["noise", "copies", "blur"],
)
def test_what_should_not_be_added_is_named(made, advice, crossed):
    images = made(torch.Generator().manual_seed(0))
    labels = REAL.labels[: len(OTHER)] if advice.endswith("copies") else OTHER.labels
    found = synaug.audit(REAL, changed(OTHER, images, labels), encoder="pixels")
    assert found.advice.startswith(advice) and not found.passed
    assert crossed in list(found.checks.loc[~found.checks["passed"], "check"])


def test_images_of_a_data_set_are_named_by_their_places_in_it():
    """Also where the source index, as in a pool, says another thing: whose copy an image is, once for each copy."""
    other = ImageDataset(OTHER.images, OTHER.labels, OTHER.class_names, torch.arange(len(OTHER)) % 25 + 1000)
    shared = REAL.subset((REAL.labels != 4).nonzero().flatten())
    found = synaug.audit(shared, other, encoder="pixels")
    kept = (OTHER.labels != 4).nonzero().flatten()
    assert found.images["file"].tolist() == [str(i) for i in kept.tolist()]
    twice = ImageDataset(
        torch.cat([OTHER.images, OTHER.images[:9]]),
        torch.cat([OTHER.labels, OTHER.labels[:9]]),
        OTHER.class_names,
        torch.cat([other.source_index, other.source_index[:9]]),
    )
    found = synaug.audit(REAL, twice, encoder="pixels")
    assert set(map(str, range(len(OTHER), len(OTHER) + 9))) <= set(found.drop_list().split())
    assert found.images.loc[found.images["duplicate"], "file"].tolist() == [str(len(OTHER) + i) for i in range(9)]


def test_real_images_that_share_a_source_index_are_all_kept_and_in_one_part_each():
    first, other = REAL.subset(slice(600)), REAL.subset(slice(600, 750))
    more = ImageDataset(torch.cat([other.images, OTHER.images[:150]]), torch.cat([other.labels, OTHER.labels[:150]]), REAL.class_names, torch.arange(300))
    data = with_real(first, more).data
    data = ImageDataset(data.images, data.labels, data.class_names, torch.arange(900) % 600)
    sets = gather(data, OTHER)
    assert (len(sets.train), len(sets.held)) == (600, 300)
    assert sorted(hashes(sets.train) + hashes(sets.held)) == sorted(hashes(data))
    for seed in range(3):
        one, another = halves(data, seed)
        assert len(one) == 450 and sorted(one.tolist() + another.tolist()) == list(range(900))
    alone = gather(data, None)
    assert sorted(sum(map(hashes, (alone.train, alone.held, alone.synthetic)), [])) == sorted(hashes(data))
    for role, images in (("train", alone.train), ("held", alone.held), ("synthetic", alone.synthetic)):
        torch.testing.assert_close(data.images[list(map(int, alone.names_of(role)))], images.images)


def test_held_out_images_among_the_others_void_all_numbers_and_are_said_first():
    real, held, other = THREE
    both = changed(real, torch.cat([real.images, held.images]), torch.cat([real.labels, held.labels]))
    found = synaug.audit(both, other, held, encoder="pixels")
    assert found.advice.startswith("Nothing can be said of them: of the 250 held-out images, 250 are among") and "leak" in found.todo[0]
    few = changed(real, torch.cat([real.images, held.images[:8]]), torch.cat([real.labels, held.labels[:8]]))
    found = synaug.audit(few, other, held, encoder="pixels", thresholds=dict.fromkeys(THRESHOLDS, 1.0))
    assert found.advice.startswith("Nothing can be said") and found.checks["passed"].all() and not found.passed
    found = synaug.audit(real, other, held, encoder="pixels", thresholds={"off_label": 0})  # where no image stands out
    assert not found.passed and (found.images["drop"].any() or "though no single image stands out" in found.advice)


def test_copies_of_held_out_images_are_a_leak_and_do_not_flatter_the_probe():
    real, held, other = THREE
    made, labels = other.images.clone(), other.labels.clone()
    copied = torch.randperm(len(held), generator=torch.Generator().manual_seed(0))[:100]
    made[:100] = held.images[copied]
    labels[:100] = held.labels[copied]
    found = synaug.audit(real, changed(other, made, labels), held, encoder="pixels")
    assert any("leak" in text for text in found.todo) and found.value("exact_copies_of_held_out")["value"] == 100
    assert found.images["drop"][:100].all() and found.ratios["n_synthetic"].max() <= len(other) - 100
    with pytest.raises(ValueError, match="nearly copies of held-out images"):
        synaug.audit(real, changed(held, (held.images.int() + 1).clamp(0, 255).to(torch.uint8)), held, encoder="pixels")


def test_single_copies_are_dropped_whatever_their_share():
    real, held, other = THREE
    made, labels = other.images.clone(), other.labels.clone()
    made[3], labels[3], made[5], labels[5] = real.images[40], real.labels[40], held.images[7], held.labels[7]
    found = synaug.audit(real, changed(other, made, labels), held, encoder="pixels")
    assert found.drop_list().split() == ["3", "5"] and found.images.index[found.images["exact_copy"]].tolist() == [3, 5]
    assert found.images["nearest_real_file"][[3, 5]].tolist() == ["40", "7"]
    assert found.todo[0] == "Look for a leak: 1 of the synthetic images is among the held-out ones, pixel by pixel."
    assert f" First drop the 2 of the {len(other):,} that are named." in found.advice


def test_fresh_real_images_are_named_near_copies_as_often_as_the_baseline_says():
    """Of 100 images the nearest two are 2 %, twice the quantile (pictures and pixels are one here, and name the same)."""
    real, held, other = draw_splits(digits, 5, 5, 30, seed=0)
    rows = synaug.audit(real, other, held, encoder="pixels", k=3).numbers
    row = rows[(rows["metric"] == "near_copies") & (rows["scope"] == "all")].iloc[0]
    assert row["baseline"] == 0.02 and 0 < row["baseline_low"] < 0.02 and 0.06 < row["baseline_high"] < 0.08
    each = rows.loc[(rows["metric"] == "near_copies") & (rows["scope"] != "all"), "baseline"]
    assert len(each) == 10 and each.mean() == pytest.approx(0.02) and each.max() >= 0.1


def test_fresh_real_images_are_not_blamed_whatever_their_classes_weigh():
    """Baselines weigh classes as the synthetic images do, and limits are not below what few real images have."""
    data = load_dataset("fashion_mnist", "test")
    for seed, most in ((0, 6), (1, 6), (0, 1)):
        real, held, other = draw_splits(data, 60, 30, 400, seed=seed)
        kept = torch.cat([(other.labels == c).nonzero().flatten()[: 400 if c == most else 20] for c in range(10)])
        found = synaug.audit(real, other.subset(kept), held, encoder="pixels")
        checks = found.checks.set_index("check")["passed"]  # the probe may lose: so many of one class shift it
        assert checks[["near_copies", "off_label", "label_agreement"]].all() and not found.images["drop"].any(), found.advice
    real, other = draw_splits(digits, 4, 20, seed=0)
    found = synaug.audit(real, other, encoder="pixels", k=3)
    assert found.checks.set_index("check").loc["off_label", "bound"] > 0.05 and found.passed


def test_weighted_shares_of_real_images_are_those_of_their_classes():
    labels, made = np.repeat([0, 1], [40, 10]), np.repeat([0, 1], [5, 15])
    found = (np.arange(50) % 10 == 0) | (np.arange(50) >= 46)  # a tenth of the one class, half of the other
    value, low, high = _of_real(found, np.ones(50, bool), labels, made, 0)
    assert value == pytest.approx(0.25 * 0.1 + 0.75 * 0.5) and low < value < high <= 1
    assert _of_real(found, labels == 1, labels, made, 0)[0] == pytest.approx(0.5)


def test_a_class_of_one_image_is_named_in_the_advice():
    real, held, other = draw_splits(digits, 50, 40, 45, seed=3)
    images, eights = other.images.clone(), (other.labels == 8).nonzero().flatten()
    noise = 3 * torch.randn(len(eights), 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images[eights] = (images[eights[:1]].float() + noise).clamp(0, 255).to(torch.uint8)
    found = synaug.audit(real, changed(other, images), held, encoder="pixels")
    assert "cannot be told from real" not in found.advice and " They lack variety in 8" in found.advice
    repeats = found.value("near_repeats")
    assert repeats["value"] == pytest.approx(0.1, abs=0.02) and repeats["baseline"] < 0.02
    assert any(text.startswith("Generate more varied images: ") for text in found.todo)


def test_advice_and_what_to_do_agree():
    real, held, other = draw_splits(digits, 50, 25, 60, seed=1)
    wrong, images = other.labels.clone(), other.images.clone()
    wrong[::4] = (wrong[::4] + 3) % 10
    labels = wrong.clone()
    images[:80], labels[:80] = real.images[:80], real.labels[:80]
    noise = torch.randint(0, 256, images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    made = changed(other, labels=wrong), changed(other, images, labels), changed(other, noise)
    audits = [synaug.audit(real, data, held, encoder="pixels") for data in made]
    for found in audits:
        assert not found.passed and not any(text.startswith("Add ") for text in found.todo)
        assert not ("rather than dropping" in " ".join(found.todo) and any(text.startswith("Drop ") for text in found.todo))
    found = audits[0]  # wrong labels are dropped before anything else is said
    assert found.advice.startswith("Drop ") and "off their label" in found.advice
    assert found.images.loc[::4, "drop"].mean() > 0.8 and found.images["drop"].drop(range(0, 600, 4)).mean() < 0.08


def test_copies_are_worth_no_real_images():
    real, held, other = draw_splits(digits, 15, 100, 4, seed=1)
    both = changed(real, torch.cat([real.images, other.images]), torch.cat([real.labels, other.labels]))
    found = synaug.audit(real, both, held, encoder="pixels")
    assert found.images["exact_copy"].sum() == 150
    alone = synaug.audit(real, other, held, encoder="pixels")
    assert found.value("probe_gain")["value"] == pytest.approx(alone.value("probe_gain")["value"], abs=0.005)


def test_repeats_of_real_images_are_left_out_and_leak_into_no_part():
    twice = changed(REAL, torch.cat([REAL.images, REAL.images[:100]]), torch.cat([REAL.labels, REAL.labels[:100]]))
    found = synaug.audit(twice, OTHER, encoder="pixels")
    assert found.value("held_out_seen")["value"] == 0 and "100 of the 850 real images repeat another one and are left out" in found.notes
    assert found.about["n_real"] + found.about["n_held_out"] == 750
    wrong = changed(twice, labels=torch.cat([REAL.labels, (REAL.labels[:100] + 1) % 10]))
    notes = synaug.audit(wrong, OTHER, encoder="pixels").notes
    assert "100 of the 850 real images repeat another one and are left out; 100 are in more than one class, and are kept in one" in notes
    with pytest.raises(ValueError, match=r"fewer than 3 real images, of which a third is held out: 0 \(1\).* \(740 of the 750 real images repeat another one"):
        synaug.audit(changed(REAL, images=REAL.images[:10][REAL.labels]), OTHER, encoder="pixels")


def test_one_odd_image_does_not_set_the_size_of_all(tmp_path):
    rng = np.random.default_rng(0)
    for role, n in (("real", 12), ("made", 6)):
        for name in "ab":
            (tmp_path / role / name).mkdir(parents=True)
            for i in range(n):
                size = (6, 60) if role == "real" and (name, i) == ("a", 0) else tuple(map(int, rng.integers(20, 40, 2)))
                Image.fromarray(rng.integers(0, 256, size[::-1], dtype=np.uint8)).save(tmp_path / role / name / f"{i:02}.png")
    sets = gather(tmp_path / "real", tmp_path / "made")
    assert all(25 <= side <= 35 for side in sets.train.image_shape[1:])
    with pytest.raises(ValueError, match="image_size and mode are of folders"):
        gather(sets.train, sets.synthetic, image_size=16)


def test_names_are_shown_as_they_are():
    names = tuple(f"cat_red{i}" for i in range(10))
    page = synaug.audit(changed(REAL, names=names), changed(OTHER, names=names), encoder="pixels").html()
    assert "cat_red3" in page and "<sub>" not in page


def test_what_is_left_out_for_want_of_images_is_told():
    real, held, other = draw_splits(digits, 20, 5, 20, seed=0)
    found = synaug.audit(real, other, held, encoder="pixels", k=3)
    assert any(note.startswith("distances from the class centre") for note in found.notes)
    assert "centroid_distance_ratio" not in set(found.numbers["metric"])
    random = torch.Generator().manual_seed(0)
    striped = [
        changed(
            data,
            (
                torch.randint(0, 100, (len(data), 1, 4, 1), generator=random).repeat_interleave(2, 2).expand(-1, -1, -1, 8)
                + 10 * data.labels[:, None, None, None]
            ).to(torch.uint8),
        )
        for data in (REAL, OTHER)
    ]
    found = synaug.audit(*striped, encoder="pixels")  # of four features
    assert any(note.startswith("distances from the class centre") for note in found.notes)


def test_the_probes_learn_from_as_many_images_of_each_class_also_without_copies_of_held_out_ones(monkeypatch):
    real, held, other = THREE
    images, labels = torch.cat([held.images[:100], other.images]), torch.cat([held.labels[:100], other.labels])
    learned = []

    def watched(x, labels, *rest):
        learned.append(np.bincount(labels, minlength=10))
        return np.ones(len(held))

    monkeypatch.setattr("synaug.auditing.measures._right", watched)
    found = synaug.audit(real, ImageDataset(images, labels, digits.class_names), held, encoder="pixels")
    left = np.bincount(labels.numpy()[~found.images["near_copy"] | (found.images["nearest_real"] < len(real))], minlength=10)
    assert left.sum() <= 250
    np.testing.assert_array_equal(learned[0], np.minimum(left, 50))
    np.testing.assert_array_equal(learned[1], learned[0])


def test_regularisation_does_not_depend_on_how_many_images_there_are():
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    once, twice = fit_linear(x, y, 0.1), fit_linear(np.concatenate([x, x]), np.concatenate([y, y]), 0.1)
    np.testing.assert_allclose(once.coef_, twice.coef_, atol=1e-3)


def test_the_command_writes_what_was_asked_for_and_no_more(folders, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    assert audit(*folders) == 0
    told = capsys.readouterr()
    assert told.out.startswith(("Add them", "They may be added")) and not told.err and sorted(tmp_path.iterdir()) == before
    files, asked = outputs(tmp_path)
    words = map(str, (*folders, *asked, "--threshold", "precision", 0, "--threshold", "off_label", 0))
    assert main(["audit", *words, "--encoder", "pixels"]) in (0, 1)  # with its bar
    assert sorted(tmp_path.iterdir()) == sorted(files.values())
    found = json.loads(files["json"].read_text())
    assert found["advice"].partition(":")[0] in files["html"].read_text() and {row["metric"] for row in found["numbers"]} == set(MEANINGS)
    assert all((folders[1] / "0").parent in type(folders[1])(row["file"]).parents for row in found["images"])


def test_images_are_named_by_their_files(folders, tmp_path):
    real, held, other = THREE
    seen = changed(real, torch.cat([real.images, held.images[:2]]), torch.cat([real.labels, held.labels[:2]]))
    made = changed(other, torch.cat([other.images, real.images[:1]]), torch.cat([other.labels, real.labels[:1]]))
    found = synaug.audit(*(save_image_folder(data, tmp_path / name) for name, data in (("seen", seen), ("made", made), ("held", held))), encoder="pixels")

    def of(file):
        with Image.open(file) as image:
            return np.asarray(image)

    for row in found.uncovered.iloc[::25].itertuples():
        np.testing.assert_array_equal(of(row.file), found.sets.held.images[row.image, 0])
    files = sorted(str(tmp_path / "held" / held.class_names[held.labels[i]] / f"{i:06}.png") for i in (0, 1))
    assert sorted(found.uncovered.loc[found.uncovered["seen"], "file"]) == files
    assert found.todo[0] == f"Look for a leak: 2 of the held-out images are among the other real ones, pixel by pixel: {', '.join(files)}."
    copy = found.images[found.images["exact_copy"]].iloc[0]
    np.testing.assert_array_equal(of(copy.file), of(copy.nearest_real_file))
    json.loads(found.json())


def test_nothing_is_kept_where_nothing_is_to_be(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("synaug.data.folders.SLOW", 0.0)
    monkeypatch.setenv("SYNAUG_CACHE", str(tmp_path / "cache"))
    assert audit(*folders, "--no-cache") == 0
    assert not (tmp_path / "cache").exists()
    assert audit(*folders) == 0
    assert (tmp_path / "cache" / "folders").exists()


def test_a_stopped_audit_says_so(folders, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("synaug.auditing.measures.encode", stop)
    assert audit(*folders) == 130
    assert capsys.readouterr().err == "audit: stopped\n"


def test_a_warning_of_the_command_is_one_sentence_said_once(folders, tmp_path, capsys):
    odd = save_image_folder(OTHER, tmp_path / "odd")
    (odd / "3" / "notes.txt").write_text("no image")
    assert audit(folders[0], odd) == 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and said[0].startswith(f"audit: {odd}: 1 files were passed over (1 .txt)")


def test_classes_are_those_of_a_folder_that_was_written_of_them(tmp_path):
    names = tuple(f"{name}/{name}" for name in REAL.class_names)
    real, other = (replace(data, class_names=names) for data in (REAL, OTHER))
    sets = gather(real, save_image_folder(other, tmp_path / "made"))
    assert sets.synthetic.class_names == tuple(name.replace("/", "_") for name in names) and len(sets.synthetic) == len(OTHER)
    assert same_classes(names, sets.synthetic.class_names).tolist() == list(range(10))


class TestBadInput:
    """Each is one sentence, and status 2, before any feature is computed."""

    @pytest.fixture(autouse=True)
    def nothing_is_computed(self, monkeypatch):
        monkeypatch.setattr("synaug.auditing.measures.encode", lambda *a, **b: pytest.fail("features were computed"))

    def told(self, capsys, *arguments):
        assert audit(*arguments) == 2
        said = capsys.readouterr()
        assert not said.out and said.err.startswith("audit: ") and "Traceback" not in said.err
        return said.err

    def test_folders(self, folders, tmp_path, capsys):
        (tmp_path / "empty").mkdir()
        assert "has no classes" in self.told(capsys, folders[0], tmp_path / "empty")
        assert "is not a folder" in self.told(capsys, folders[0], tmp_path / "missing")
        assert "one folder" in self.told(capsys, folders[0], folders[0] / "." / "")
        save_image_folder(changed(OTHER, names=tuple("abcdefghij")), tmp_path / "strange")
        assert "they share none (" in self.told(capsys, folders[0], tmp_path / "strange")
        save_image_folder(changed(OTHER, names=tuple("0bcdefghij")), tmp_path / "one")
        assert "they share '0'" in self.told(capsys, folders[0], tmp_path / "one")
        copy = save_image_folder(REAL, tmp_path / "copy")
        assert "the synthetic images are the real ones, pixel by pixel" in self.told(capsys, folders[0], copy)
        assert "the held-out images are the real ones, pixel by pixel" in self.told(capsys, *folders, "--held-out", copy)
        other = save_image_folder(OTHER, tmp_path / "other")
        assert "the synthetic images are the held-out ones, pixel by pixel" in self.told(capsys, *folders, "--held-out", other)

        with pytest.raises(SystemExit):
            audit(folders[0], "")
        assert "must be the path of a folder, got nothing" in capsys.readouterr().err

    def test_too_few_images(self, folders, tmp_path, capsys):
        few = save_image_folder(stratified_subset(digits, 12, 0), tmp_path / "few")
        assert "12 synthetic images" in self.told(capsys, folders[0], few, "--neighbours", "20")
        assert "fewer than 3 real images" in self.told(capsys, few, folders[1])
        one = [save_image_folder(data, tmp_path / name) for name, data in zip("abc", draw_splits(digits, 2, 1, 1, seed=0))]
        assert "no class has two held-out images" in self.told(capsys, *one[::2], "--held-out", one[1])

    def test_files_to_write(self, folders, tmp_path, capsys):
        (tmp_path / "file").touch()
        assert "is not a folder" in self.told(capsys, *folders, "--html", tmp_path / "file" / "page.html")
        assert "name a file" in self.told(capsys, *folders, "--json", tmp_path)
        same = tmp_path / "audit", "--json", tmp_path / "." / "audit"
        assert "--html and --json name one file" in self.told(capsys, *folders, "--html", *same)
        assert "lies in the folder of real images" in self.told(capsys, *folders, "--html", folders[0] / "page.html")
        assert "lies in the folder of synthetic images" in self.told(capsys, *folders, "--drop-list", folders[1] / "0" / "drop.txt")
        assert "cannot be written (File name too long)" in self.told(capsys, *folders, "--html", tmp_path / ("x" * 250))
        os.mkfifo(tmp_path / "pipe")
        assert "is not a plain file" in self.told(capsys, *folders, "--json", tmp_path / "pipe")
        (tmp_path / "file").chmod(0o400)
        assert "is read-only" in self.told(capsys, *folders, "--json", tmp_path / "file")

    @pytest.mark.parametrize(
        "options, said",
        [
            (("--threshold", "nearcopies", "1"), "unknown threshold 'nearcopies': choose one of"),
            (("--threshold", "precision", "2"), "precision must be a finite number of at least 0"),
            (("--device", "tpu"), "no device tpu"),
            (("--threshold", "precision", "much"), "the threshold precision must be a number, got 'much'"),
            (("--seed", "4294967295"), "seed must be"),
            (("--check",), "takes real images alone"),
            (("--neighbours", "0"), "at least 1"),
        ],
    )
    def test_options(self, folders, capsys, options, said):
        assert said in self.told(capsys, *folders, *options)

    def test_unreadable_files_are_named_and_refused(self, folders, tmp_path, capsys):
        damaged = save_image_folder(OTHER, tmp_path / "damaged")
        (damaged / "3" / "broken.png").write_bytes(b"no image")
        assert "1 of 251 images cannot be read" in self.told(capsys, folders[0], damaged)


def test_unreadable_files_are_skipped_on_request_and_names_still_fit(folders, tmp_path):
    damaged = save_image_folder(OTHER, tmp_path / "damaged")
    (damaged / "3" / "000000.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="000000.png"):
        found = synaug.audit(folders[0], damaged, encoder="pixels", unreadable="skip")
    assert "1 synthetic image that cannot be read was skipped" in found.notes
    for row in (0, 100, 249):
        with Image.open(found.images["file"][row]) as image:
            np.testing.assert_array_equal(np.asarray(image), found.sets.synthetic.images[row, 0])


def test_repeats_that_are_too_many_are_dropped_first_and_cross_a_threshold():
    real, held, other = draw_splits(digits, 40, 30, 5, seed=0)
    found = synaug.audit(real, changed(other, other.images.repeat(10, 1, 1, 1), other.labels.repeat(10)), held, encoder="pixels")
    assert not found.passed and found.advice.startswith("Drop 450 of the 500 synthetic images") and "repeats of others" in found.advice
    row = found.checks.set_index("check").loc["duplicates"]
    assert (row["value"], row["bound"]) == (0.9, 0.05) and row["low"] > 0.85 and "Share of repeats" in found.html()


def test_held_out_images_that_are_nearly_copies_of_others_are_a_leak():
    """As images are that were saved again, cropped or scaled: their pixels differ."""
    real, held, other = draw_splits(digits, 40, 20, 30, seed=0)
    again = changed(real, (real.images.int() + 1).clamp(0, 255).to(torch.uint8))
    found = synaug.audit(real, other, again, encoder="pixels")
    assert found.advice == "Nothing can be said of them: of the 400 held-out images, 400 are nearly copies of other real ones. Hold out others."
    assert not found.passed and found.todo[0].startswith("Look for a leak: these held-out images are nearly copies") and len(found.todo) == 2
    mixed = changed(held, torch.cat([held.images[:150], again.images[:50]]), torch.cat([held.labels[:150], again.labels[:50]]))
    found = synaug.audit(real, other, mixed, encoder="pixels")
    named = set(found.uncovered.loc[found.uncovered["near_copy"], "file"].astype(int))
    assert set(range(150, 200)) <= named and len(named) <= 55 and f"{len(named)} are nearly copies" in found.advice
    fine = synaug.audit(real, other, held, encoder="pixels").value("held_out_near")
    assert fine["value"] < 0.03 and fine["low"] < 0.02


def test_classes_of_which_there_is_none_are_named_in_the_advice(folders, tmp_path):
    made = tmp_path / "made"
    shutil.copytree(folders[1], made)
    for file in (made / "3").iterdir():
        file.unlink()  # the folder stays, as a generator leaves it that failed
    found = synaug.audit(folders[0], made, encoder="pixels")
    assert found.about["missing"] == ("3",) and found.advice.endswith(" None is of 3: what adding the others does there is not measured.")
    with pytest.raises(ValueError, match="no images in '3'"):
        synaug.audit(made, folders[0], encoder="pixels")


def test_what_was_found_is_written_and_told_whatever_letters_the_terminal_has(folders, tmp_path, monkeypatch):
    both = []
    for folder in folders:
        both.append(tmp_path / f"{folder.name} two")
        shutil.copytree(folder, both[-1])
        (both[-1] / "7").rename(both[-1] / "日本")
    shutil.rmtree(both[1] / "日本")
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", pipe)
    assert audit(*both, "--html", tmp_path / "page.html") in (0, 1)
    pipe.flush()
    assert b"\\u65e5\\u672c" in pipe.buffer.getvalue() and "日本" in (tmp_path / "page.html").read_text()


def test_files_are_written_whether_or_not_anybody_listens(folders, tmp_path, monkeypatch):
    usual = audit(*folders)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        for n, stdout in enumerate((nobody, None)):
            monkeypatch.setattr("sys.stdout", stdout)
            assert audit(*folders, "--html", tmp_path / f"{n}.html") == usual
            assert (tmp_path / f"{n}.html").stat().st_size > 10_000


def test_the_command_checks_itself_and_says_what_it_did_not_find(folders, capsys):
    assert audit(folders[0], "--check") == 1
    told = capsys.readouterr().out
    table = told.partition("Not as demanded: ")[0].splitlines()
    assert table[0].split() == ["defect", "planted", "by", "found", "demanded", "false_alarms", "ok"] and len(table) == 7
    missed = [line.strip().split("  ")[0] for line in table[1:] if line.endswith("False")]
    assert missed and f"Not as demanded: {', '.join(missed)}." in told


def test_names_of_any_bytes_are_told_and_a_line_break_makes_no_second_line(folders, tmp_path, capsys):
    synthetic = tmp_path / "synthetic"
    shutil.copytree(folders[1], synthetic)
    odd = os.fsdecode(os.fsencode(synthetic / "3") + b"/caf\xe9.png")
    shutil.copy(sorted((synthetic / "3").iterdir())[0], odd)  # a repeat: to be dropped
    files, asked = outputs(tmp_path)
    assert audit(folders[0], synthetic, *asked) in (0, 1)
    dropped = files["drop-list"].read_bytes().splitlines()
    assert os.fsencode(odd) in dropped or os.fsencode(sorted((synthetic / "3").iterdir())[1]) in dropped
    assert odd in [row["file"] for row in json.loads(files["json"].read_text())["images"]] and files["html"].stat().st_size > 9999
    os.rename(odd, synthetic / "3" / "a\nb.png")
    files["json"].unlink()
    capsys.readouterr()
    assert audit(folders[0], synthetic, *asked) in (0, 1, 2)
    told = capsys.readouterr().err
    assert files["json"].exists()  # what could be written was
    assert "a\\nb.png': rename the file, or take the list from the JSON" in told


def test_sizes_modes_and_missing_classes_are_mended_and_told(folders, tmp_path):
    images = torch.nn.functional.interpolate(OTHER.images.expand(-1, 3, -1, -1), (90, 60))
    kept = OTHER.labels != 4
    odd = ImageDataset(images[kept], OTHER.labels[kept], (*"012345678", "more"))
    found = synaug.audit(folders[0], save_image_folder(odd, tmp_path / "odd"), encoder="pixels")
    assert found.sets.held.image_shape == (3, 8, 8) and found.about["classes"] == tuple("01235678")
    told = "; ".join(found.notes)
    assert "of modes L, RGB were taken as RGB" in told and "8 x 8" in told
    assert "Note: 150 real images of classes that not all sets have are left out: 4, 9.\n" in found.summary()
    assert found.todo[0] == "Generate images of these classes, too, which were left out as no synthetic image is of them: 4, 9."


def test_features_that_are_nan_are_refused():
    with pytest.raises(ValueError, match="features of real images contain NaN"):
        synaug.audit(REAL, OTHER, encoder=lambda images: images.flatten(1) * torch.nan)


def test_the_page_opens_from_disk_with_nothing_else(browser, folders, tmp_path):
    few = synaug.audit(folders[0], changed(OTHER, labels=OTHER.labels.roll(3)), encoder="pixels")
    (tmp_path / "page.html").write_text(few.html())
    page, remote = browser.new_page(), []
    page.on("request", lambda request: remote.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
    page.goto((tmp_path / "page.html").as_uri())
    assert page.locator(".advice").inner_text().replace("\u2212", "-") == few.advice
    alternatives = page.locator("img").evaluate_all("images => images.map(image => [image.alt, image.naturalWidth > 0])")
    assert len(alternatives) > 20 and all(words.strip() and shown for words, shown in alternatives)
    assert page.locator("table:not(:has(caption))").count() == 0 and page.locator("th:not([scope])").count() == 0
    assert not re.search(r"\bnan\b|None|Traceback", page.locator("body").inner_text(), re.I)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    grounds = set()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2 and not remote


def test_thresholds_are_all_looked_at(fine):
    assert list(fine.checks["check"]) == list(THRESHOLDS)
    strict = synaug.audit(REAL, OTHER, encoder="pixels", thresholds={"precision": 0.0, "near_copies": 0.0, "off_label": 0.0})
    assert strict.checks.set_index("check").loc["off_label", "bound"] == 0 and not strict.passed


def test_a_threshold_that_is_given_is_kept_also_where_it_is_the_usual_one():
    """The usual ones are raised to what real images have; of 30 images, that is far above 0.03."""
    real, held, other = draw_splits(digits, 3, 3, 3, seed=0)
    usual, given, looser = (
        synaug.audit(real, other, held, encoder="pixels", k=2, thresholds=own) for own in (None, THRESHOLDS, {"near_copies": THRESHOLDS["near_copies"] + 1e-3})
    )
    bound = [found.checks.set_index("check").loc["near_copies", "bound"] for found in (usual, given, looser)]
    assert bound == [usual.value("near_copies")["baseline_high"], 0.03, 0.031] and bound[0] > 0.031


@pytest.mark.parametrize("per_class, seed", [(8, 1), (8, 18), (12, 24)])
def test_few_images_are_no_leak_by_chance(per_class, seed):
    """The distance below which one is nearly a copy is a quantile of few: what other real images have counts, too."""
    real, other = draw_splits(digits, per_class, per_class, seed=seed)
    assert not synaug.audit(real, other, encoder="pixels").advice.startswith("Nothing")
