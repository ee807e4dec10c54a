"""Simulated screens: designed as asked, truly labelled, with effects that can be measured."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from cellml.data.screen_simulation import (
    CHANNELS,
    CONTROL,
    MECHANISMS,
    NO_MECHANISM,
    ScreenDesign,
    field_id,
    list_treatments,
    list_wells,
    simulate_screen_field,
    well_phenotype,
)
from cellml.data.screen_simulation_microscope import well_conditions
from cellml.data.screen_simulation_phenotypes import SPREAD, Phenotype, add, scale

SMALL = ScreenDesign(
    mechanisms=("er_stress",), n_per_mechanism=2, n_inactive=1, n_plates=2, n_rows=2, n_columns=3
)
STILL = ScreenDesign(
    n_per_mechanism=2, n_plates=1, n_batches=1, batch_effect=0.0, position_effect=0.0
)
MEASURES = (
    "cell_area",
    "nucleus_area",
    "compactness",
    "rna",
    "er",
    "mito",
    "er_grain",
    "mito_grain",
)


def _measure(field):
    """Cells in rows, `MEASURES` in columns; those that the field cuts off are left out."""
    image = field.image.astype(float)
    light = image - np.median(image[field.labels == 0], axis=0)
    index = np.arange(1, len(field.centres) + 1)
    area = np.bincount(field.labels.ravel())[1:]
    rim = (field.labels > 0) & (
        ndimage.minimum_filter(field.labels, 3) != ndimage.maximum_filter(field.labels, 3)
    )
    perimeter = np.bincount(field.labels[rim], minlength=len(area) + 1)[1:]
    columns = [area, np.bincount(field.nuclei.ravel())[1:], area / np.maximum(perimeter, 1) ** 2]
    er, rna, mito = (light[..., CHANNELS.index(name)] for name in ("ER", "RNA", "Mito"))
    columns += [ndimage.mean(channel, field.labels, index) for channel in (rna, er, mito)]
    for channel in (er, mito):
        # Fine structure against coarse structure.
        fine = channel - ndimage.gaussian_filter(channel, 1.5)
        coarse = ndimage.gaussian_filter(channel, 1.5) - ndimage.gaussian_filter(channel, 4)
        columns.append(
            ndimage.standard_deviation(coarse, field.labels, index)
            / ndimage.standard_deviation(fine, field.labels, index)
        )
    edges = (field.labels[0], field.labels[-1], field.labels[:, 0], field.labels[:, -1])
    whole = ~np.isin(index, np.concatenate(edges))
    return np.log(np.stack(columns, axis=1)[whole])


@pytest.fixture(scope="module")
def profiles():
    """Mean and standard error of the measures per treatment, from wells that differ in nothing."""
    found = {}
    for well in list_wells(STILL):
        treatment = well.treatment
        if well.replicate > 2:
            continue
        fields = [simulate_screen_field(STILL, well, site) for site in (1, 2, 3)]
        found.setdefault(treatment, []).append(np.concatenate([_measure(f) for f in fields]))
    cells = {treatment: np.concatenate(rows) for treatment, rows in found.items()}
    return {t: (c.mean(0), c.std(0) / np.sqrt(len(c))) for t, c in cells.items()}


def _control(profiles):
    return next(value for t, value in profiles.items() if t.role == "control")


@pytest.mark.parametrize(
    ("mechanism", "measure", "sign"),
    [
        ("topoisomerase_inhibitor", "nucleus_area", 1),
        ("topoisomerase_inhibitor", "cell_area", 1),
        ("actin_inhibitor", "cell_area", -1),
        ("actin_inhibitor", "compactness", -1),
        ("er_stress", "er_grain", 1),
        ("er_stress", "er", 1),
        ("mito_uncoupler", "mito_grain", -1),
        ("mito_uncoupler", "mito", -1),
        ("protein_synthesis_inhibitor", "rna", -1),
    ],
)
def test_treatments_act_as_their_mechanism_says_and_in_the_order_of_strength(
    profiles, mechanism, measure, sign
):
    column = MEASURES.index(measure)
    reference, error = (value[column] for value in _control(profiles))
    made = sorted((t.strength, t) for t in profiles if t.mechanism == mechanism)
    shifts = [sign * (profiles[t][0][column] - reference) for _, t in made]
    assert shifts[-1] > 3 * np.hypot(error, profiles[made[-1][1]][1][column])
    assert shifts[-1] > shifts[0]


def test_treatments_of_a_mechanism_are_alike(profiles):
    reference, error = _control(profiles)
    active = [t for t in profiles if t.mechanism != NO_MECHANISM]
    shifts = np.stack([(profiles[t][0] - reference) / error for t in active])
    shifts /= np.linalg.norm(shifts, axis=1, keepdims=True)
    similarity = shifts @ shifts.T
    np.fill_diagonal(similarity, -np.inf)
    nearest = [active[index].mechanism for index in similarity.argmax(axis=1)]
    assert nearest == [t.mechanism for t in active]


def test_inactive_treatments_are_like_controls(profiles):
    reference, error = _control(profiles)
    inactive = [t for t in profiles if t.mechanism == NO_MECHANISM and t.role == "treatment"]
    assert len(inactive) == STILL.n_inactive
    for treatment in inactive:
        assert treatment.strength == 0
        mean, own = profiles[treatment]
        assert (abs(mean - reference) < 4 * np.hypot(error, own)).all()


def test_effects_are_proportional_to_strength():
    design = dataclasses.replace(STILL, effect=0.5)
    for well in list_wells(STILL):
        size = np.linalg.norm(well_phenotype(STILL, well))
        if well.treatment.mechanism == NO_MECHANISM:
            assert size == 0
            continue
        whole = np.linalg.norm(MECHANISMS[well.treatment.mechanism])
        # Mechanism and particular effect lie at any angle.
        assert 0.5 < size / (well.treatment.strength * whole) < 1.5
        np.testing.assert_allclose(np.linalg.norm(well_phenotype(design, well)), size / 2)


def test_every_mechanism_is_told_from_every_other():
    vectors = {name: np.array(effect) for name, effect in MECHANISMS.items()}
    for one, a in vectors.items():
        for other, b in vectors.items():
            if one != other:
                assert a @ b < 0.6 * np.linalg.norm(a) * np.linalg.norm(b), (one, other)
    assert min(SPREAD) > 0


def test_phenotypes_add_and_scale():
    a, b = Phenotype(dna=1.0, mito=2.0), Phenotype(mito=-0.5)
    assert add([a, b]) == Phenotype(dna=1.0, mito=1.5)
    assert add([]) == Phenotype()
    assert scale(a, 0.5) == Phenotype(dna=0.5, mito=1.0)


def test_layout():
    design = ScreenDesign(n_replicates=1, n_faulty=3)
    wells = list_wells(design)
    assert len(wells) == 3 * 24
    for plate in ("01001", "01002", "02003"):
        here = [well for well in wells if well.plate == plate]
        assert [well.well for well in here[:2]] == ["A01", "A02"]
        names = [well.treatment.name for well in here]
        assert names.count(CONTROL) == 24 - design.n_treatments
        assert len(set(names)) == design.n_treatments + 1
        assert {well.batch for well in here} == {f"batch{int(plate[:2])}"}
    assert sum(well.is_faulty for well in wells) == 3
    assert len({field_id(well, 1) for well in wells}) == len(wells)
    assert field_id(wells[0], 2) == "01001_A01_s2"


@pytest.mark.parametrize(("layout", "same"), [("fixed", True), ("random", False)])
def test_fixed_layouts_repeat(layout, same):
    design = ScreenDesign(layout=layout)
    plates = {}
    for well in list_wells(design):
        plates.setdefault(well.plate, []).append(well.treatment.name)
    first, second, _ = plates.values()
    assert (first == second) is same


def test_names_of_treatments_do_not_tell_their_mechanism():
    treatments = list_treatments(ScreenDesign())
    assert [t.name for t in treatments[:2]] == ["T001", "T002"]
    assert treatments[-1] == (CONTROL, NO_MECHANISM, 0.0, "control", -1)
    mechanisms = [t.mechanism for t in treatments[:-1]]
    runs = 1 + sum(a != b for a, b in zip(mechanisms[1:], mechanisms[:-1], strict=True))
    assert runs > len(set(mechanisms)) + 2
    strengths = sorted(t.strength for t in treatments if t.mechanism == "er_stress")
    np.testing.assert_allclose(strengths, [0.35, 0.675, 1.0])


def test_labels_nuclei_and_centres_agree():
    field = simulate_screen_field(SMALL, list_wells(SMALL)[1], 1)
    n = len(field.centres)
    assert field.image.shape == (256, 256, 5)
    assert 5 < n < 25
    for labels in (field.labels, field.nuclei):
        np.testing.assert_array_equal(np.unique(labels), np.arange(n + 1))
    inside = field.nuclei > 0
    np.testing.assert_array_equal(field.nuclei[inside], field.labels[inside])
    for label, centre in enumerate(field.centres, 1):
        y, x = np.nonzero(field.nuclei == label)
        np.testing.assert_allclose(centre, (y.mean(), x.mean()))
        assert ndimage.label(field.labels == label)[1] == 1
    dna, cells = field.image[..., 0], field.labels > 0
    assert np.median(dna[inside]) > 3 * np.median(dna[~cells])
    assert np.median(dna[inside]) > 2 * np.median(dna[cells & ~inside])
    er = field.image[..., CHANNELS.index("ER")]
    assert np.median(er[cells & ~inside]) > 1.2 * np.median(er[~cells])


def test_a_field_is_a_function_of_seed_and_place():
    wells = list_wells(SMALL)
    first = simulate_screen_field(SMALL, wells[0], 1)
    more = dataclasses.replace(SMALL, n_sites=5, n_faulty=0)
    again = simulate_screen_field(more, list_wells(more)[0], 1)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    other = dataclasses.replace(SMALL, seed=1)
    for differing in (
        simulate_screen_field(SMALL, wells[0], 2),
        simulate_screen_field(SMALL, wells[6], 1),  # the same well of the other plate
        simulate_screen_field(other, list_wells(other)[0], 1),
    ):
        assert (differing.image != first.image).any()


def _gains(design):
    """Conditions by batch, plate and well."""
    wells = list_wells(design)
    gains = np.array([np.log(well_conditions(design, well).gain) for well in wells])
    batches = np.array([well.batch for well in wells])
    plates = np.array([well.plate for well in wells])
    return gains, batches, plates


def test_batches_and_plates_differ_in_staining():
    gains, batches, plates = _gains(ScreenDesign(n_plates=12, n_batches=4, position_effect=0.0))
    by_plate = np.array([gains[plates == p].mean(0) for p in np.unique(plates)])
    by_batch = np.array([gains[batches == b].mean(0) for b in np.unique(batches)])
    between_batches = by_batch.std(0, ddof=1).mean()
    within = np.mean([by_plate[i : i + 3].std(0, ddof=1) for i in range(0, 12, 3)])
    assert between_batches > 1.3 * within
    assert within > 0.05
    gains, *_ = _gains(dataclasses.replace(STILL, n_plates=2, n_batches=2))
    assert (gains == 0).all()


def test_batches_are_seen_in_images():
    """Controls of two batches differ in brightness where there are batch effects only."""
    means = {}
    for size in (0.0, 1.0):
        design = dataclasses.replace(SMALL, batch_effect=size, position_effect=0.0)
        wells = [well for well in list_wells(design) if well.treatment.name == CONTROL]
        found = {"batch1": [], "batch2": []}
        for well in wells:
            image = simulate_screen_field(design, well, 1).image
            found[well.batch].append(np.log(image.reshape(-1, 5).mean(0) - 300))
        means[size] = abs(np.mean(found["batch1"], axis=0) - np.mean(found["batch2"], axis=0))
    assert means[1.0].max() > 2 * means[0.0].max()


def test_wells_at_the_rim_hold_fewer_cells():
    design = dataclasses.replace(STILL, position_effect=1.0)
    for well in list_wells(design):
        is_rim = well.row in (0, 3) or well.column in (0, 5)
        assert well_conditions(design, well).phenotype.n_cells == (-0.2 if is_rim else 0.0)


def test_faulty_wells_are_out_of_focus():
    design = dataclasses.replace(SMALL, n_faulty=1, batch_effect=0.0)
    (faulty,) = [well for well in list_wells(design) if well.is_faulty]
    sharpness = []
    for well in (faulty, faulty._replace(is_faulty=False)):
        dna = simulate_screen_field(design, well, 1).image[..., 0].astype(float)
        sharpness.append(np.percentile(ndimage.gaussian_gradient_magnitude(dna, 1.0), 98))
    assert sharpness[0] < 0.6 * sharpness[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mechanisms": ("magic",)}, "unknown mechanism 'magic'; known are topo"),
        ({"mechanisms": ("er_stress", "er_stress")}, "each once"),
        ({"n_sites": 0}, "n_sites must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"effect": -0.5}, "effect must not be negative"),
        ({"n_batches": 4}, "4 batches"),
        ({"layout": "round"}, "unknown layout 'round'"),
        ({"n_rows": 40}, "expected within 32 x 48"),
        ({"n_replicates": 2}, "34 treated wells and 2 controls do not fit on a plate of 4 x 6"),
        ({"shape": (40, 256)}, "must fit into a field"),
        ({"n_faulty": 100}, "more than there are wells"),
    ],
)
def test_bad_designs_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ScreenDesign(**settings)


def test_sites_count_from_one():
    with pytest.raises(ValueError, match="count from 1"):
        simulate_screen_field(SMALL, list_wells(SMALL)[0], 0)
