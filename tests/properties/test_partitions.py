"""Sweeps and predictions by other engines: joblib's loky, Dask, Ray and Spark, with the recipes of docs/scaling.md."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp as fb

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).astype("float32")
Y = (X[:, 0] + X[:, 1] > 0).astype(int)
NET = fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 2), seed=0)


@pytest.fixture(scope="module")
def loky() -> Iterator[Any]:
    joblib = pytest.importorskip("joblib", reason="joblib is not installed")
    from joblib.externals.loky import get_reusable_executor
    yield joblib
    get_reusable_executor().shutdown(wait=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as local, distributed.Client(local) as client:
        yield client


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray", reason="ray is not installed")
    paths = [Path(fb.__file__).parent.parent, Path(__file__).parent]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
             object_store_memory=100 * 2**20,
             runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(map(str, paths))}})
    yield ray
    ray.shutdown()


def model() -> Any:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from fastbp.estimators import MLPClassifier
    return MLPClassifier((8,), max_iter=5, random_state=0, learning_rate_init=0.01, n_iter_no_change=9)


def grid_search() -> list[float]:
    from sklearn.model_selection import GridSearchCV
    return found(GridSearchCV(model(), GRID, cv=2))


def halving_search() -> list[float]:
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV
    return found(HalvingRandomSearchCV(model(), GRID, cv=2, random_state=0, n_candidates=4, min_resources=50))


def cross_validation() -> list[float]:
    from sklearn.model_selection import cross_val_score
    scores: list[float] = cross_val_score(model(), X, Y, cv=4).tolist()
    return scores


def found(search: Any) -> list[float]:
    scores: list[float] = search.fit(X, Y).cv_results_["mean_test_score"].tolist()
    return scores


GRID = {"alpha": [1e-4, 1e-2], "activation": ["relu", "tanh"]}
sweeps = pytest.mark.parametrize("sweep", [grid_search, halving_search, cross_validation])


@pytest.mark.filterwarnings("ignore::Warning:sklearn")
@sweeps
def test_sweeps_find_the_same_under_loky(loky: Any, sweep: Callable[[], list[float]]) -> None:
    model()
    expected = sweep()
    with loky.parallel_config("loky", n_jobs=2):
        assert loky.effective_n_jobs(None) == 2
        assert sweep() == expected


# joblib's table of what it sent to the cluster forgets an array twice, once in a while
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::Warning:sklearn")
@pytest.mark.parametrize("name", ["parallel_config", "parallel_backend"])
@sweeps
def test_sweeps_find_the_same_under_dask(loky: Any, cluster: Any, sweep: Callable[[], list[float]], name: str) -> None:
    model()
    expected = sweep()
    with getattr(loky, name)("dask"):
        assert loky.effective_n_jobs(None) == 2
        assert sweep() == expected


@pytest.mark.filterwarnings("ignore")
@sweeps
def test_sweeps_find_the_same_under_ray(loky: Any, ray: Any, sweep: Callable[[], list[float]]) -> None:
    from ray.util.joblib import register_ray
    model()
    expected = sweep()
    register_ray()
    with loky.parallel_config("ray", n_jobs=2):
        assert loky.effective_n_jobs(None) == 2
        assert sweep() == expected


def train(seed: int) -> fb.Network:
    net = fb.Sequential(fb.Linear(4, 8), fb.Tanh(), fb.Linear(8, 2), seed=seed)
    fb.Trainer(net, fb.CrossEntropy(), fb.Adam(0.01)).fit(X, Y, epochs=3, progress=False)
    return net


def test_an_ensemble_is_trained_by_dask(cluster: Any) -> None:
    ensemble = fb.Ensemble(cluster.gather(cluster.map(train, range(3))))
    np.testing.assert_array_equal(ensemble.predict_members(X), [train(i).predict(X) for i in range(3)])


def test_dask_predicts_blocks_and_partitions(cluster: Any) -> None:
    da = pytest.importorskip("dask.array", reason="Dask is not installed")
    model = cluster.scatter(NET, broadcast=True)

    def predict(block: Any, model: fb.Network) -> Any:
        return model.copy().predict(block)      # a worker's threads share the model
    made = da.from_array(X, chunks=(64, 4)).map_blocks(predict, model, dtype="float32", chunks=(64, 2),
                                                       meta=np.empty((0, 2), "float32"))
    np.testing.assert_allclose(made.compute(), NET.predict(X), rtol=1e-6)
    dd = pytest.importorskip("dask.dataframe", reason="dask.dataframe is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = dd.from_pandas(pandas.DataFrame(X, columns=list("abcd")), npartitions=3)

    def score(part: Any, model: fb.Network) -> Any:
        return part.assign(score=model.copy().predict(part.to_numpy("float32"))[:, 1])
    scored = frame.map_partitions(score, model, meta=frame._meta.assign(score=np.float32()))
    np.testing.assert_allclose(scored["score"].compute(), NET.predict(X)[:, 1], rtol=1e-6)


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java")
@pytest.mark.filterwarnings("ignore")
def test_spark_predicts_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sql = pytest.importorskip("pyspark.sql", reason="pyspark is not installed")
    functions, types = pytest.importorskip("pyspark.ml.functions"), sql.types
    NET.save(tmp_path / "net.safetensors")
    path = str(tmp_path / "net.safetensors")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(Path(fb.__file__).parent.parent))

    def load() -> Any:
        import fastbp
        net = fastbp.load(path)                 # once in each of Spark's workers
        return lambda x: net.predict(x)
    session = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        predict = functions.predict_batch_udf(load, return_type=types.ArrayType(types.FloatType()), batch_size=64,
                                              input_tensor_shapes=[[4]])
        frame = session.createDataFrame([(row.tolist(),) for row in X], ["x"])
        made = [row["y"] for row in frame.select(predict("x").alias("y")).collect()]
    finally:
        session.stop()
    np.testing.assert_allclose(made, NET.predict(X), rtol=1e-5, atol=1e-6)
