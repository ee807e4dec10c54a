import numpy as np
import pytest
from jaxtyping import TypeCheckError

from cellml.profiling.quality import plate_quality, quality_report
from cellml.profiling.strength import pairs_in_order, strongest, treatment_strength


def screen(seed=0):
    """Two plates, 20 controls and 3 treatments of known strength with 2 to 4 wells on each."""
    rng = np.random.default_rng(seed)
    treatment = np.concatenate([[-1] * 20, [5, 5], [6, 6], [9, 9, 9, 9]])
    treatment = np.concatenate([treatment, treatment])
    plates = np.repeat([3, 1], 28)
    shift = np.select([treatment == 5, treatment == 9], [6.0, 2.0], 0.0)
    profiles = rng.normal(size=(56, 10)) + shift[:, None] + 4 * plates[:, None]
    return profiles, plates, treatment, treatment < 0


def test_strength_equals_loops():
    profiles, plates, treatments, controls = screen()
    found = treatment_strength(profiles, plates, treatments, controls)
    np.testing.assert_array_equal(found.treatment, [5, 6, 9])
    for k, code in enumerate(found.treatment):
        scores = []
        for plate in (1, 3):
            of_plate = profiles[(plates == plate) & controls]
            median = np.median(of_plate, 0)
            distances = [np.sqrt(((row - median) ** 2).sum()) for row in of_plate]
            for row in profiles[(plates == plate) & (treatments == code)]:
                distance = np.sqrt(((row - median) ** 2).sum())
                scores.append((distance - np.mean(distances)) / np.std(distances))
        assert found.total[k] == pytest.approx(sum(scores))
        assert found.mean[k] == pytest.approx(np.mean(scores))
        assert found.n_wells[k] == len(scores)


def test_strength_ranks_as_made_and_forgets_plates():
    profiles, plates, treatments, controls = screen()
    found = treatment_strength(profiles, plates, treatments, controls)
    np.testing.assert_array_equal(found.treatment[strongest(found.mean, 9)], [5, 9, 6])
    moved = profiles * np.where(plates == 1, 7.0, 1.0)[:, None] + plates[:, None]
    again = treatment_strength(moved, plates, treatments, controls)
    np.testing.assert_allclose(again.total, found.total)


def test_the_sum_favours_replicates():
    profiles, plates, treatments, controls = screen()
    rows = np.concatenate([np.arange(56), np.flatnonzero(treatments == 9)])
    more = treatment_strength(profiles[rows], plates[rows], treatments[rows], controls[rows])
    found = treatment_strength(profiles, plates, treatments, controls)
    assert more.total[2] == pytest.approx(2 * found.total[2])
    assert more.mean[2] == pytest.approx(found.mean[2])


def test_strength_of_degenerate_wells():
    profiles, plates, treatments, controls = screen()
    profiles[treatments == 6] = np.nan
    found = treatment_strength(profiles, plates, treatments, controls)
    np.testing.assert_array_equal(np.isnan(found.total), [False, True, False])
    np.testing.assert_array_equal(strongest(found.total, 3), [0, 2])
    profiles[controls & (plates == 1)] = 0  # no spread among the controls of plate 1
    found = treatment_strength(profiles, plates, treatments, controls)
    np.testing.assert_array_equal(found.n_wells, [2, 0, 4])
    with pytest.raises(ValueError, match="plate 3 has 1 finite control"):
        treatment_strength(profiles[19:], plates[19:], treatments[19:], controls[19:])
    with pytest.raises((ValueError, TypeCheckError)):
        treatment_strength(profiles, plates, treatments, controls[1:])


def wells(seed=1):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(300, 30)) @ rng.normal(size=(30, 30))


def test_quality_finds_what_was_planted():
    values = wells()
    loading = np.zeros(30)
    loading[12] = 400.0
    values[[40, 77]] += np.array([[1.0], [-0.6]]) * loading
    values[9, 3] = np.nan
    report = quality_report(values, n_components=6)
    np.testing.assert_array_equal(report.to_view[:3], [9, 40, 77])
    assert report.outlier.sum() <= 5
    assert report.distance[9] == np.inf
    worst = report.worst_component[40]
    assert report.leading_features[worst, 0] == 12
    assert report.components.shape == (300, 6)
    assert (np.diff(report.explained) <= 0).all()


def test_quality_components_equal_svd():
    values = wells()
    report = quality_report(values, n_components=4)
    centred = values - values.mean(0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(report.components), np.abs(u * s)[:, :4], rtol=1e-6)
    np.testing.assert_allclose(report.explained, (s**2 / (s**2).sum())[:4])
    z = report.components - np.median(report.components, 0)
    z = z / (1.4826 * np.median(np.abs(z), 0))
    np.testing.assert_allclose(report.distance, np.sqrt((z**2).mean(1)), rtol=1e-9)


def test_false_alarms_are_as_few_as_asked():
    rng = np.random.default_rng(5)
    values = rng.normal(size=(4000, 12)) * np.linspace(1, 3, 12)
    for level in (0.1, 0.01):
        report = quality_report(values, n_components=5, false_alarms=level)
        assert report.outlier.mean() == pytest.approx(level, rel=0.5)


def test_a_failed_plate_stands_out():
    values = wells()
    plates = np.repeat([8, 4, 6], 100)
    values[plates == 4] += np.where(np.arange(100) < 30, 500.0, 0.0)[:, None]
    found = plate_quality(quality_report(values), plates)
    np.testing.assert_array_equal(found.plate, [4, 6, 8])
    np.testing.assert_array_equal(found.n_wells, 100)
    assert found.n_outliers[0] >= 30
    assert (found.n_outliers[1:] < 5).all()


def test_quality_of_too_little():
    with pytest.raises(ValueError, match="3 finite wells"):
        quality_report(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="all finite wells are equal"):
        quality_report(np.ones((5, 4)))
    with pytest.raises(ValueError, match="false_alarms"):
        quality_report(wells(), false_alarms=0.0)
    few = quality_report(np.arange(8.0).reshape(4, 2) ** 2)
    assert few.components.shape[1] <= 2


def test_pairs_of_a_group_are_counted_where_values_and_truth_differ():
    nan = np.nan
    values = np.array([3.0, 2.0, 2.5, 9.0, 9.0, 1.0, nan, 4.0, 5.0])
    truth = np.array([1.0, 0.5, 0.2, 1.0, 0.3, 1.0, 2.0, nan, 0.1])
    groups = np.array([0, 0, 0, 1, 1, 2, 0, 0, -1])
    # group 0: (3, 2) and (3, 2.5) in order, (2, 2.5) not; group 1: equal values are not
    assert pairs_in_order(values, truth, groups) == (2, 4)
    assert pairs_in_order(values[:0], truth[:0], groups[:0]) == (0, 0)
