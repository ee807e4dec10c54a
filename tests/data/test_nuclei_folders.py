"""Folders of nuclei: both layouts, the merging of masks, modalities, and damaged files."""

import csv

import numpy as np
import PIL.Image
import pytest

from cellml.data.nuclei_folders import DataError, list_cases, merge_masks, modality_of, read_case

SHAPE = (20, 30)


def _save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(np.asarray(pixels)).save(path)
    return path


def _mask(y0, y1, x0, x1, shape=SHAPE):
    mask = np.zeros(shape, np.uint8)
    mask[y0:y1, x0:x1] = 255
    return mask


def _grey_rgba(level=30):
    image = np.full((*SHAPE, 4), level, np.uint8)
    image[2:6, 3:9, :3] = 200
    image[..., 3] = 255
    return image


@pytest.fixture
def kaggle(tmp_path):
    for name in ("case1", "case2"):
        _save(tmp_path / "stage1_train" / name / "images" / f"{name}.png", _grey_rgba())
        _save(tmp_path / "stage1_train" / name / "masks" / "a.png", _mask(2, 6, 3, 9))
        _save(tmp_path / "stage1_train" / name / "masks" / "b.png", _mask(10, 14, 3, 9))
    return tmp_path


@pytest.fixture
def label_images(tmp_path):
    labels = np.zeros(SHAPE, np.uint16)
    labels[2:6, 3:9], labels[6:9, 3:9] = 300, 7  # not contiguous, touching
    for name in ("x", "y"):
        _save(tmp_path / "images" / f"{name}.png", _grey_rgba()[..., 0])
        _save(tmp_path / "labels" / f"{name}.png", labels)
    with (tmp_path / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("id", "modality"), ("x", "tissue_dark"), ("y", "brightfield_gray")]
        )
    return tmp_path


def test_kaggle_layout(kaggle):
    (kaggle / "stage1_train" / ".DS_Store").write_bytes(b"x")
    (kaggle / "stage1_train" / "case1" / "masks" / "._a.png").write_bytes(b"x")
    (kaggle / "stage1_train" / "case1" / "masks" / "Thumbs.db").write_bytes(b"x")
    (kaggle / "__MACOSX" / "masks").mkdir(parents=True)
    for root in (kaggle, kaggle / "stage1_train"):
        cases = list_cases(root)
        assert [case.id for case in cases] == ["case1", "case2"]
        nuclei = read_case(cases[0])
        assert nuclei.image.shape == (*SHAPE, 1)  # R = G = B, alpha dropped
        assert (nuclei.image[..., 0] == _grey_rgba()[..., 0]).all()
        assert nuclei.modality == "fluorescence"
        expected = np.where(_mask(2, 6, 3, 9), 1, 0) + np.where(_mask(10, 14, 3, 9), 2, 0)
        np.testing.assert_array_equal(nuclei.labels, expected)


def test_label_image_layout(label_images):
    cases = list_cases(label_images)
    assert [(case.id, case.modality) for case in cases] == [("x", "tissue"), ("y", "brightfield")]
    labels = read_case(cases[0]).labels
    assert labels.dtype == np.uint16
    assert (labels[2:6, 3:9] == 2).all()
    assert (labels[6:9, 3:9] == 1).all()
    assert labels.max() == 2


def test_modality_is_guessed_without_an_index(label_images):
    (label_images / "index.csv").unlink()
    assert {read_case(case).modality for case in list_cases(label_images)} == {"fluorescence"}


def test_smaller_mask_wins_where_masks_overlap(tmp_path):
    large = _save(tmp_path / "a.png", _mask(0, 10, 0, 10))
    small = _save(tmp_path / "b.png", _mask(4, 7, 4, 7))
    labels = merge_masks((large, small), SHAPE)
    assert (labels[4:7, 4:7] == 2).all()
    assert (labels == 1).sum() == 100 - 9


def test_of_two_equal_masks_the_first_stays_and_no_number_is_skipped(tmp_path):
    masks = [_save(tmp_path / f"{name}.png", _mask(0, 3, 0, 3)) for name in "ab"]
    masks.append(_save(tmp_path / "c.png", _mask(5, 6, 0, 3)))
    labels = merge_masks(tuple(masks), SHAPE)
    assert (labels[0:3, 0:3] == 1).all()
    assert (labels[5, 0:3] == 2).all()


def test_truncated_image_is_named(label_images):
    path = label_images / "images" / "x.png"
    rng = np.random.default_rng(0)
    _save(path, rng.integers(0, 255, SHAPE, dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"images/x\.png: cannot be read as an image") as error:
        read_case(list_cases(label_images)[0])
    assert "\n" not in str(error.value)


def test_truncated_mask_is_named(kaggle):
    path = kaggle / "stage1_train" / "case2" / "masks" / "b.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"case2/masks/b\.png: cannot be read"):
        read_case(list_cases(kaggle)[1])


def test_mismatched_shapes_are_named(kaggle, tmp_path_factory):
    _save(kaggle / "stage1_train" / "case1" / "masks" / "b.png", _mask(0, 2, 0, 2, (30, 20)))
    with pytest.raises(DataError, match=r"b\.png: mask is \(30, 20\), its image is \(20, 30\)"):
        read_case(list_cases(kaggle)[0])
    root = tmp_path_factory.mktemp("labels")
    _save(root / "images" / "x.png", _grey_rgba())
    _save(root / "labels" / "x.png", np.zeros((20, 31), np.uint8))
    with pytest.raises(DataError, match=r"x\.png: labels are \(20, 31\), the image is \(20, 30\)"):
        read_case(list_cases(root)[0])


def test_case_without_masks_is_named(kaggle):
    for path in (kaggle / "stage1_train" / "case2" / "masks").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="case2/masks: no masks"):
        list_cases(kaggle)


def test_image_without_labels_is_named(label_images):
    (label_images / "labels" / "y.png").unlink()
    with pytest.raises(DataError, match=r"y\.png: has no label image"):
        list_cases(label_images)


@pytest.mark.parametrize("exists", [True, False])
def test_folder_without_a_layout_is_named(tmp_path, exists):
    folder = tmp_path if exists else tmp_path / "missing"
    with pytest.raises(DataError, match=str(folder)):
        list_cases(folder)


def test_unknown_modality_names_the_line(label_images):
    (label_images / "index.csv").write_text("id,modality\nx,tissue\ny,phase\n")
    with pytest.raises(DataError, match=r"index\.csv:3: modality 'phase'"):
        list_cases(label_images)


def test_modality_by_colour():
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 60, (9, 11, 1), dtype=np.uint8)
    pink = np.concatenate([dark + 180, dark + 90, dark + 170], -1)
    assert modality_of(dark) == "fluorescence"
    assert modality_of(255 - dark) == "brightfield"
    assert modality_of(pink) == "tissue"


def test_modality_rule_agrees_with_the_curated_index(shared_data):
    # Every fourth, to be quick; all 566 agree.
    cases = list_cases(shared_data / "segmentation" / "dsb2018_train")[::4]
    guessed = [read_case(case._replace(modality=None)).modality for case in cases]
    assert guessed == [case.modality for case in cases]


def test_both_layouts_hold_the_same(shared_data):
    folder = shared_data / "segmentation"
    curated = {case.id: case for case in list_cases(folder / "dsb2018_train")}
    for case in list_cases(folder / "dsb2018_kaggle_layout_sample"):
        one, other = read_case(case), read_case(curated[case.id])
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels > 0, other.labels > 0)
        assert (one.modality, one.labels.max()) == (other.modality, other.labels.max())
