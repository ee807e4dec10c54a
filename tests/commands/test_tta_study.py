"""The study of TTA on stand-in models whose gain is known, and its command line."""

import io
import json
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
from PIL import Image
from rich.console import Console
from skimage.measure import label

from cellml.commands import tta_study
from cellml.commands.tta_study_inputs import (
    FolderSource,
    check_predictions,
    find_checkpoints,
    limited,
    load_study_model,
)
from cellml.commands.tta_study_scores import (
    ROW_SCHEMA,
    StudyModel,
    score_rows,
    summarise_rows,
    variants,
)
from cellml.errors import UsageError, UserError
from cellml.tasks.nucleus_models import Copies, Found, predict_image
from cellml.tasks.semantic import Segmenter, SegmenterSpec, save_segmenter
from cellml.tta import PRESETS, predict, resolve_transforms
from tests.cli.fake_model import bright_objects, fake_instance_model

QUIET = Console(file=io.StringIO())
SETTINGS = {"tta": "d4", "preset": "kaggle", "seed": 0, "data": "squares", "n_images": 5}


def copies_of_maps(stack):
    """Copies of a model of maps: their mean, from 0.5 on."""

    def merge(indices):
        foreground = stack[list(indices)].mean(axis=0)[..., 0] >= 0.5
        return Found(label(foreground).astype(np.int32), foreground)

    return Copies(stack[..., 0], merge)


def squares(index):
    """Two squares of 6 x 6; the image is their mask, and says which record it is."""
    labels = np.zeros((24, 30), np.uint16)
    labels[3:9, 4 + index : 10 + index] = 4
    labels[14:20, 12:18] = 9
    image = (labels > 0).astype(np.float32)[..., None]
    return {"id": f"image{index}", "image": image, "labels": labels, "modality": "fluorescence"}


SMALL = (("filters", (4, 8)),)
SOURCE = [squares(index) for index in range(5)]


def row_below_lost(image):
    """A network that erodes nuclei at their lower side, wherever that is after the transform."""
    above = jnp.concatenate([image[1:], jnp.zeros_like(image[:1])])
    return 0.2 + 0.8 * image * above


def equivariant(image):
    return 0.2 + 0.8 * image


@cache
def predictor(network):
    return jax.jit(partial(predict, network, transforms="d4"))


def model(group="plain", epoch=1, network=row_below_lost):
    def copies(record):
        return copies_of_maps(np.asarray(predictor(network)(record["image"])))

    return StudyModel(group, f"{group}_{epoch}", epoch, copies)


def loses_first(image):
    """Misses the object that comes first, row by row, in whatever is shown."""
    found = bright_objects(image)
    labels = found.labels.copy()
    labels[labels == 1] = 0
    return found._replace(labels=labels)


def instance_model(group="objects", epoch=1, segment_one=loses_first):
    whole = fake_instance_model(segment_one)

    def copies(record):
        return predict_image(whole, np.asarray(record["image"]), transforms="dissertation6")

    return StudyModel(group, f"{group}_{epoch}", epoch, copies, instances=True)


def test_known_gain():
    """Each side is lost in 2 of 8 transforms: 5/6 of a square without TTA, all of it with."""
    rows = list(score_rows(model(), SOURCE))
    assert [row["id"] for row in rows] == [record["id"] for record in SOURCE]
    for row in rows:
        assert row["iou_none"] == pytest.approx(5 / 6)
        assert row["iou_tta"] == 1
        assert row["iou_delta"] == pytest.approx(1 / 6)
        # 5 x 6 dilated by the four neighbours has 30 + 2 * 6 + 2 * 5 pixels, with all true ones.
        assert row["iou_dilated"] == pytest.approx(36 / 52)
        # IoU 5/6 passes the thresholds .50 to .80, 7 of 10.
        assert row["ap_dsb2018_none"] == pytest.approx(0.7)
        assert row["ap_dsb2018_tta"] == 1
        assert (row["n_true"], row["n_pred_none"], row["n_pred_tta"]) == (2, 2, 2)
        assert row["mean_variance"] > 0


def test_dilation_is_by_four_neighbours_and_keeps_nuclei_apart():
    maps = np.zeros((1, 5, 9, 1), np.float32)
    maps[0, 2, 2:4] = maps[0, 2, 5:7] = 0.9
    found = variants(copies_of_maps(maps))["dilated"]
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 1, 1, 0, 1, 1, 0, 0],
            [0, 1, 1, 1, 1, 1, 1, 1, 0],
            [0, 0, 1, 1, 0, 1, 1, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0, 0],
        ]
    )
    np.testing.assert_array_equal(found.foreground, expected)
    np.testing.assert_array_equal(found.labels > 0, expected)
    assert set(np.unique(found.labels)) == {0, 1, 2}


def crossing(index=0):
    """Four squares near the four sides, so that each is the first of some copies only."""
    labels = np.zeros((64, 64), np.uint16)
    for i, (y, x) in enumerate(((4 + index, 28), (28, 4), (30, 50), (50, 26))):
        labels[y : y + 8, x : x + 8] = i + 1
    image = (labels > 0).astype(np.float32)[..., None]
    return {"id": f"image{index}", "image": image, "labels": labels, "modality": "fluorescence"}


def test_known_gain_of_merged_objects():
    """Of six copies, the top square is missed in 2, left and right in 1, the lowest in 2."""
    (row,) = score_rows(instance_model(), [crossing()])
    assert (row["n_true"], row["n_pred_none"], row["n_pred_tta"]) == (4, 3, 4)
    assert row["ap_dsb2018_none"] == pytest.approx(3 / 4)
    assert row["ap_dsb2018_delta"] == pytest.approx(1 / 4)
    # 8 x 8 dilated by the four neighbours: IoU 64 / 96 passes .50 to .65 in three of four
    assert row["ap_dsb2018_dilated"] == pytest.approx(0.4 * 3 / 4)
    assert row["iou_tta"] == 1


def row(group, checkpoint, index, deltas, modality="tissue"):
    """A row whose changes of IoU and mAP_DSB are `deltas`."""
    entry = {"group": group, "checkpoint": checkpoint, "epoch": 1, "row": index}
    entry |= {"id": str(index), "modality": modality, "n_true": 1}
    for score, delta in zip(("iou", "ap_dsb2018"), deltas, strict=True):
        values = {"none": 0.5, "tta": 0.5 + delta, "dilated": 0.6}
        values |= {"delta": delta, "delta_dilated": 0.1, "tta_minus_dilated": delta - 0.1}
        entry |= {f"{score}_{name}": value for name, value in values.items()}
    return entry


def test_summary_by_hand():
    rows = [
        row("a", "first", 0, (0.1, 0.2)),
        row("a", "first", 1, (-0.3, np.nan), modality="fluorescence"),
        row("a", "first", 2, (0.5, 0.0)),
        row("a", "second", 0, (0.3, 0.2)),
        row("a", "second", 1, (-0.1, 0.2), modality="fluorescence"),
        row("a", "second", 2, (0.1, 0.4)),
    ]
    found = summarise_rows(rows)
    first = found["checkpoints"][0]
    assert (first["checkpoint"], first["modality"], first["n_images"]) == ("first", "all", 3)
    assert first["iou"]["tta"] == pytest.approx(0.6)
    assert first["iou"]["delta"]["mean"] == pytest.approx(0.1)
    assert first["iou"]["delta"]["median"] == pytest.approx(0.1)
    assert first["iou"]["delta"]["share_worse"] == pytest.approx(1 / 3)
    assert first["iou"]["delta"]["low95"] < 0.1 < first["iou"]["delta"]["high95"]
    # The image without a score is left out of all means, also of those of the other methods.
    assert first["ap_dsb2018"]["n_undefined"] == 1
    assert first["ap_dsb2018"]["delta"]["mean"] == pytest.approx(0.1)
    assert first["ap_dsb2018"]["delta"]["share_worse"] == 0
    # Over the checkpoints, an image counts once: 0.2, -0.2 and 0.3.
    group = found["groups"][0]
    assert group["n_images"] == 3
    assert group["iou"]["delta"]["mean"] == pytest.approx(0.1)
    assert group["iou"]["delta"]["median"] == pytest.approx(0.2)
    assert group["iou"]["delta"]["share_worse"] == pytest.approx(1 / 3)
    assert {entry["modality"] for entry in found["groups"]} == {"all", "fluorescence", "tissue"}


def test_study_writes_everything(tmp_path):
    shrunk = partial(model, "shrunk", 10), partial(model, "shrunk", 20)
    models = [*shrunk, partial(model, "equivariant", 10, equivariant)]
    result = tta_study.study(models, SOURCE, tmp_path, settings=SETTINGS, console=QUIET)
    names = {path.name for path in tmp_path.iterdir()}
    stems = ("epochs_iou", "epochs_ap_dsb2018", "cases")
    figures = {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")}
    assert names == figures | {"per_image.csv", "per_image.parquet", "summary.json", "summary.txt"}
    for name in figures:
        assert (tmp_path / name).stat().st_size > 5000
    with Image.open(tmp_path / "cases.png") as picture:
        assert picture.width > 1000

    table = pyarrow.parquet.read_table(tmp_path / "per_image.parquet")
    assert table.schema.names == ROW_SCHEMA.names
    assert table.num_rows == 15
    assert pyarrow.csv.read_csv(tmp_path / "per_image.csv").num_rows == 15
    deltas = {"shrunk": [], "equivariant": []}
    for entry in table.to_pylist():
        deltas[entry["group"]].append(entry["iou_delta"])
    assert deltas["equivariant"] == [0] * 5
    assert deltas["shrunk"] == pytest.approx([1 / 6] * 10)

    assert json.loads((tmp_path / "summary.json").read_text()) == result
    text = (tmp_path / "summary.txt").read_text()
    assert "+0.1667" in text
    assert "all checkpoints" in text


def test_study_of_groups_whose_objects_are_merged(tmp_path):
    source = [crossing(0), crossing(2), crossing(3)]
    models = [partial(instance_model, "objects", epoch) for epoch in (1, 2)]
    models.append(partial(instance_model, "perfect", 1, bright_objects))
    result = tta_study.study(models, source, tmp_path, settings=SETTINGS, console=QUIET)
    assert result["instance_groups"] == ["objects", "perfect"]
    assert (tmp_path / "deltas_ap_dsb2018.png").stat().st_size > 5000
    drawn = (tmp_path / "deltas_ap_dsb2018.svg").read_text()
    assert "+0.2500" in drawn
    assert "+0.0000" in drawn
    text = (tmp_path / "summary.txt").read_text()
    assert "deltas_ap_dsb2018.png/.svg" in text
    assert "merged object by object instead for objects, perfect" in text
    deltas = {e["group"]: e["ap_dsb2018"]["delta"]["mean"] for e in result["groups"]}
    assert deltas == {"objects": pytest.approx(0.25), "perfect": 0}


def test_images_without_nuclei():
    """Kaggle's score is undefined there, which must not poison the means."""
    empty = {**squares(0), "image": np.zeros((24, 30, 1), np.float32)}
    empty["labels"] = np.zeros((24, 30), np.uint16)
    rows = list(score_rows(model(), [squares(1), empty]))
    found = summarise_rows(rows)["checkpoints"][0]
    assert found["ap_dsb2018"]["n_undefined"] <= 1
    assert np.isfinite(found["ap_dsb2018"]["delta"]["mean"])
    assert rows[1]["iou_none"] == 1


def test_find_checkpoints(tmp_path):
    for name in ("epoch_10", "epoch_9", "notes"):
        (tmp_path / name).with_suffix(".safetensors" if "_" in name else ".txt").touch()
    single = tmp_path / "epoch_9.safetensors"
    found = find_checkpoints([f"with={tmp_path}", f"single={single}"])
    assert [(group, epoch) for group, epoch, _ in found] == [
        ("with", 9), ("with", 10), ("single", 9),
    ]  # fmt: skip
    (tmp_path / "other_10.safetensors").touch()
    (tmp_path / "nothing").mkdir()
    for groups, message in [
        ([f"a={tmp_path}"], "epoch_10.safetensors and other_10.safetensors have the same"),
        ([f"a={tmp_path / 'nothing'}"], "no .safetensors file, and no folder of a transform"),
        (["nuclei"], "expected NAME=PATH"),
        ([f"a={single}", f"a={single}"], "given twice"),
        (["a=nowhere"], "nowhere is neither a file, nor a folder, nor a model of cellml"),
        ([], "at least one"),
    ]:
        with pytest.raises(UsageError, match=message):
            find_checkpoints(groups)


def test_limit_is_spread_evenly():
    assert [r["id"] for r in limited(SOURCE, 3)] == ["image0", "image2", "image4"]
    assert len(limited(SOURCE, 9)) == 5


def write_folder(folder):
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for record in SOURCE[:2]:
        pixels = (record["image"][..., 0] * 200).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{record['id']}.png")
        Image.fromarray(record["labels"]).save(folder / "labels" / f"{record['id']}.png")
    return folder


def test_folder_source(tmp_path):
    source = FolderSource(write_folder(tmp_path))
    assert [record["id"] for record in source] == ["image0", "image1"]
    assert source[1]["image"].shape == (24, 30, 1)
    assert source[1]["labels"].max() == 2


def write_predictions(root, *, tta="d4", ids=("image0", "image1"), change=lambda name, x: x):
    """What a perfect segmenter gives for the transformed copies of `SOURCE`, as files."""
    for record in SOURCE[: len(ids)]:
        for transform in PRESETS[tta]:
            labels = transform.apply(change(transform.name, record["labels"]), axes=(-2, -1))
            (root / transform.name).mkdir(parents=True, exist_ok=True)
            name = f"{record['id']}_labels.png"
            Image.fromarray(np.ascontiguousarray(labels)).save(root / transform.name / name)
    return root


def test_predictions_made_elsewhere_are_a_group(tmp_path):
    """Their identity lost a square of two; seven further copies have it."""

    def forgetful(name, labels):
        return np.where(labels == 9, 0, labels).astype(np.uint16) if name == "identity" else labels

    folder, out = write_folder(tmp_path / "data"), tmp_path / "out"
    for epoch in (1, 3):
        write_predictions(tmp_path / "net" / f"epoch{epoch}", change=forgetful)
    single = write_predictions(tmp_path / "single")
    groups = ["--group", f"net={tmp_path / 'net'}", "--group", f"single={single}"]
    assert tta_study.main([*groups, "--data", str(folder), "--out", str(out)]) == 0
    result = json.loads((out / "summary.json").read_text())
    assert [(e["group"], e["epoch"]) for e in result["checkpoints"]] == [
        ("net", 1), ("net", 3), ("single", 0),
    ]  # fmt: skip
    assert [e["ap_dsb2018"]["none"] for e in result["checkpoints"]] == [0.5, 0.5, 1]
    assert [e["ap_dsb2018"]["tta"] for e in result["checkpoints"]] == [1, 1, 1]
    assert (out / "deltas_ap_dsb2018.svg").exists()


def test_predictions_made_elsewhere_that_lack_something(tmp_path):
    """Refused before any model is run, and nothing is written."""
    folder, out = write_folder(tmp_path / "data"), tmp_path / "out"
    six = write_predictions(tmp_path / "six", tta="dissertation6")
    one = write_predictions(tmp_path / "one", ids=("image0",))
    for path, message in [
        (six, "no folder transpose or antitranspose, which --tta d4 needs"),
        (one, "one: no label image of 'image1'"),
    ]:
        with pytest.raises(UsageError, match=message):
            tta_study.run(groups=["u=nuclei", f"g={path}"], data=str(folder), out=out)
    assert not out.exists()
    # as many of the source as are studied must be there
    source = limited(FolderSource(folder), 1)
    check_predictions([("g", 0, str(one))], source, tta="d4")
    wide = write_predictions(tmp_path / "wide", change=lambda name, x: np.pad(x, ((0, 0), (0, 2))))
    model = load_study_model("g", 0, str(wide), tta="d4", chunk=1)
    with pytest.raises(UserError, match=r"image0_labels.png: 24 x 32 px found, 24 x 30 expected"):
        model.predict(SOURCE[0])


def test_command_line_with_a_saved_segmenter(tmp_path, capsys):
    """A small U-Net with random weights, through files, on images of sides no stride divides."""
    spec = SegmenterSpec(model=SMALL, heads=("foreground",))
    example = jnp.zeros((1, spec.stride, spec.stride, 3))
    segmenter = Segmenter(spec, spec.unet().init(jax.random.key(0), example))
    for epoch in (1, 2):
        save_segmenter(tmp_path / "run" / f"epoch_{epoch:03d}.safetensors", segmenter)
    folder, out = write_folder(tmp_path / "data"), tmp_path / "out"
    arguments = ["--group", f"run={tmp_path / 'run'}", "--data", str(folder), "--out", str(out)]
    assert tta_study.main([*arguments, "--tta", "dissertation6", "--chunk", "8"]) == 0
    result = json.loads((out / "summary.json").read_text())
    assert result["settings"]["tta"] == "dissertation6"
    assert [entry["epoch"] for entry in result["checkpoints"]] == [1, 2]
    assert "all checkpoints" in capsys.readouterr().out


def test_command_line_refuses(tmp_path, capsys):
    out = ["--out", str(tmp_path)]
    assert tta_study.main(["--help"]) == 0
    assert tta_study.main(out) == 2
    assert "--group" in capsys.readouterr().err
    (tmp_path / "a.safetensors").write_bytes(b"cut short")
    group = ["--group", f"a={tmp_path / 'a.safetensors'}"]
    with pytest.raises(UsageError, match=r"neither dsb2018 nor .* nor a folder"):
        tta_study.main([*out, *group, "--data", str(tmp_path / "none")])
    with pytest.raises(UsageError, match="at least 1 expected"):
        tta_study.main([*out, *group, "--limit", "0"])
    folder = write_folder(tmp_path / "data")
    with pytest.raises(UserError, match=r"a\.safetensors"):
        tta_study.main([*out, *group, "--data", str(folder)])
    with pytest.raises(UsageError, match="--tta none"):
        tta_study.run(groups=["a=nuclei"], out=tmp_path, tta="none")


def test_every_preset_starts_with_the_identity():
    """Version 0 is what "without TTA" means here."""
    for name in ("none", "dissertation6", "d4"):
        assert resolve_transforms(name)[0].name == "identity"
