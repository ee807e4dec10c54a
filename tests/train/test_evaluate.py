import jax
import numpy as np
import pytest

from cellml.train.evaluate import divide, evaluate
from tests.train.tasks import mlp_task, points, rows

TASK = mlp_task()
VARIABLES = TASK.init(jax.random.key(2), points(2))


def numpy_metrics(data):
    p = jax.device_get(VARIABLES["params"])
    hidden = np.tanh(data["x"] @ p["a"]["kernel"] + p["a"]["bias"])
    z = (hidden @ p["b"]["kernel"] + p["b"]["bias"])[:, 0]
    return {"accuracy": np.mean((z > 0) == (data["y"] > 0.5)), "mean_logit": np.mean(z)}


@pytest.mark.parametrize("device_count", [1, 8])
@pytest.mark.parametrize("cuts", [[24, 48], [24, 48, 70], [5, 6, 40]])
def test_no_example_is_lost(device_count, cuts):
    # 71 is prime: whatever the batch size and the devices, something is left over. The third case
    # grows its batches, so that later ones are longer than those before.
    data = points(71)
    parts = [rows(data, part) for part in np.split(np.arange(71), cuts)]
    got = evaluate(TASK, VARIABLES, parts, devices=jax.local_devices()[:device_count])
    want = numpy_metrics(data)
    assert got.keys() == want.keys()
    for name in want:
        assert got[name] == pytest.approx(want[name], rel=1e-5), name


def test_a_dropped_row_would_be_noticed():
    data = points(71)
    assert numpy_metrics(rows(data, np.arange(70)))["mean_logit"] != pytest.approx(
        numpy_metrics(data)["mean_logit"], rel=1e-4
    )


def test_invalid_examples_do_not_count():
    data = points(20)
    data["valid"][[0, 7]] = False
    want = numpy_metrics(rows(data, np.flatnonzero(data["valid"])))
    got = evaluate(TASK, VARIABLES, [data], devices=jax.local_devices()[:3])
    assert got["mean_logit"] == pytest.approx(want["mean_logit"], rel=1e-5)


def test_nothing_counted_is_nan_and_nothing_given_an_error():
    assert np.isnan(divide({"a": (0.0, 0.0)})["a"])
    with pytest.raises(ValueError, match="there are no batches"):
        evaluate(TASK, VARIABLES, [])
