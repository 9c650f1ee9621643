"""TabularClassifier and TabularRegressor: scikit-learn's contract, what tables may hold, and that they learn."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest

import fastbp as fb

sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pd = pytest.importorskip("pandas", reason="pandas is not installed")
from conftest import backends  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.inspection import partial_dependence, permutation_importance  # noqa: E402
from sklearn.metrics import log_loss  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

if backends()[-1] != "native":
    pytest.skip("networks for tables are trained by the native backend", allow_module_level=True)

SMALL = {"max_iter": 8, "n_folds": 3, "hidden_layer_sizes": (32,), "random_state": 0}


def classifier(**parameters):
    return fb.TabularClassifier(**{**SMALL, **parameters})


def regressor(**parameters):
    return fb.TabularRegressor(**{**SMALL, **parameters})


def frame(rows=300, seed=0):
    """A table of every kind of column, and what there is to know of it."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({
        "size": rng.normal(size=rows), "gaps": rng.normal(size=rows), "count": rng.integers(0, 5, rows),
        "kind": pd.Categorical(rng.choice(list("xyz"), rows)), "text": rng.choice(["a", "b", "c"], rows),
        "street": rng.choice([f"s{i}" for i in range(30)], rows), "yes": rng.random(rows) < 0.3,
        "day": np.datetime64("2020-01-01") + rng.integers(0, 900, rows)})
    X.loc[rng.random(rows) < 0.2, "gaps"] = np.nan
    y = X["size"] + (X["kind"] == "x") - X["yes"] + 0.3 * X["count"] + 0.1 * rng.normal(size=rows)
    return X, y.to_numpy()


@pytest.fixture(scope="module")
def table():
    return frame()


@pytest.fixture(scope="module")
def fitted(table):
    X, y = table
    return classifier().fit(X, np.where(y > 0.5, "high", "low")), regressor().fit(X, y)


# ---- scikit-learn's contract -----------------------------------------------------------------------------------------


def _expected_to_fail(estimator):
    return {"check_sample_weight_equivalence_on_dense_data":
            "rows repeated are other mini-batches and other rows held out than rows weighted"}


@parametrize_with_checks([kind(max_iter=20, n_folds=3, hidden_layer_sizes=(32,))
                          for kind in (fb.TabularClassifier, fb.TabularRegressor)],
                         expected_failed_checks=_expected_to_fail)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_the_defaults_learn():
    X, y = frame(600)
    test, y_test = frame(300, seed=1)
    assert fb.TabularRegressor(random_state=0).fit(X, y).score(test, y_test) > 0.97
    model = fb.TabularClassifier(random_state=0).fit(X, y > 0.5)
    assert model.score(test, y_test > 0.5) > 0.93
    assert log_loss(y_test > 0.5, model.predict_proba(test)) < 0.17


def test_what_cannot_be_known_is_predicted_as_it_is_distributed():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2000, 5)), rng.random(2000) < 0.25
    p = fb.TabularClassifier(random_state=0, max_iter=16).fit(X[:1000], y[:1000]).predict_proba(X[1000:])
    base = log_loss(y[1000:], np.tile([0.75, 0.25], (1000, 1)))
    assert log_loss(y[1000:], p) < 1.03 * base
    y = rng.normal(size=2000)
    assert fb.TabularRegressor(random_state=0, max_iter=16).fit(X[:1000], y[:1000]).score(X[1000:], y[1000:]) > -0.05


def test_the_seed_decides(table):
    X, y = table
    a, b, c = (regressor(random_state=s).fit(X, y).predict(X) for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_no_bit_depends_on_threads(table):
    X, y = table
    before = fb.get_num_threads()
    a, b = (regressor(n_threads=n).fit(X, y).predict(X) for n in (1, 2))
    np.testing.assert_array_equal(a, b)
    assert fb.get_num_threads() == before


def test_copies_predict_the_same(fitted, table):
    for model in fitted:
        for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            np.testing.assert_array_equal(other.predict(table[0]), model.predict(table[0]))
        assert not hasattr(clone(model), "committee_")


def test_scikit_learns_tools(fitted, table):
    X, y = table
    assert cross_val_score(regressor(), X, y, cv=2).min() > 0.5
    found = permutation_importance(fitted[1], X, y, n_repeats=2, random_state=0)
    assert X.columns[found.importances_mean.argmax()] == "size"
    curve = partial_dependence(fitted[1], X, ["size"], grid_resolution=5)["average"][0]
    assert (np.diff(curve) > 0).all()


# ---- tables of all kinds ---------------------------------------------------------------------------------------------


def test_frames_of_pandas_and_polars_mappings_and_arrays_are_alike(fitted, table):
    X = table[0]
    model, expected = fitted[1], fitted[1].predict(X)
    np.testing.assert_array_equal(model.predict({name: X[name] for name in X}), expected)
    np.testing.assert_array_equal(model.predict({name: X[name].tolist() for name in X}), expected)
    np.testing.assert_array_equal(model.predict(X.astype({"kind": object, "text": "category"})), expected)
    np.testing.assert_array_equal(model.predict(X.convert_dtypes()), expected)
    polars = pytest.importorskip("polars", reason="polars is not installed")
    np.testing.assert_array_equal(model.predict(polars.from_pandas(X)), expected)
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    np.testing.assert_array_equal(model.predict(arrow.Table.from_pandas(X)), expected)
    np.testing.assert_array_equal(regressor().fit(arrow.Table.from_pandas(X), table[1]).predict(X), expected)
    numbers = X[["size", "gaps", "count"]].to_numpy()
    a, b = regressor().fit(numbers, table[1]), regressor().fit(pd.DataFrame(numbers), table[1])
    np.testing.assert_array_equal(a.predict(numbers), b.predict(pd.DataFrame(numbers)))


def test_columns_are_found_by_name(fitted, table):
    X = table[0]
    for model in fitted:
        np.testing.assert_array_equal(model.predict(X[X.columns[::-1]].assign(more=1)), model.predict(X))
        np.testing.assert_array_equal(model.predict(X.assign(more=[[1]] * len(X), far=np.inf)), model.predict(X))
        with pytest.raises(ValueError, match=r"X lacks the columns 'size', which Tabular.* was fitted with; it has 'g"):
            model.predict(X.drop(columns="size"))


def test_a_row_is_predicted_alone(fitted, table):
    """What other rows hold, and which levels a frame declares, changes nothing."""
    X = table[0]
    for model, method in zip(fitted, ("predict_proba", "predict"), strict=True):
        together = getattr(model, method)(X)
        for i in (0, 7, 150):
            row = X.iloc[[i]].copy()
            row["kind"] = row["kind"].astype(str).astype("category")
            np.testing.assert_array_equal(getattr(model, method)(row)[0], together[i])


def test_new_levels_and_columns_that_become_missing(fitted, table):
    X = table[0].copy()
    X["street"], X["text"], X["size"], X["day"] = "elsewhere", None, np.nan, pd.NaT
    X["kind"] = pd.Categorical(["new"] * len(X))
    for model in fitted:
        assert len(model.predict(X)) == len(X)
    assert np.isfinite(fitted[1].predict(X)).all()
    nothing = {name: [None] * len(X) for name in X}     # of no kind at all
    np.testing.assert_array_equal(fitted[1].predict(nothing), fitted[1].predict(X.assign(**{
        name: X[name].where(np.zeros(len(X), bool)) for name in X})))


def test_text_where_numbers_were_is_named(fitted, table):
    X = table[0].astype({"size": object})
    X.loc[5, "size"] = "large"
    with pytest.raises(ValueError, match="column 'size' has text such as 'large'; expected numbers, as in training"):
        fitted[0].predict(X)
    X.loc[5, "size"] = " 1.5"
    fitted[0].predict(X)


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinite_numbers_are_named(fitted, table, bad):
    X = table[0].copy()
    X.loc[5, "size"] = bad
    with pytest.raises(ValueError, match=rf"column 'size' has {bad} in row 5; expected finite numbers"):
        fitted[0].predict(X)
    with pytest.raises(ValueError, match="column 'size'"):
        regressor().fit(X, table[1])


def test_huge_and_tiny_numbers_are_taken(table):
    X, y = table
    for factor in (1e300, 1e-300, -1e18):
        scaled = X.assign(size=X["size"] * factor)
        assert regressor().fit(scaled, y).score(scaled, y) > 0.6
    model = regressor().fit(X, y)
    far = X.copy()
    far.loc[3, "size"] = 1.7e308
    assert np.isfinite(model.predict(far)).all()


@pytest.mark.parametrize("scale", [1e6, 1e-6, 1e100, 1e-100, 1e300, 1e-300])
def test_targets_of_any_scale(table, scale):
    X, y = table
    expected = regressor().fit(X, y).predict(X)
    np.testing.assert_allclose(regressor().fit(X, scale * y).predict(X) / scale, expected, rtol=1e-2, atol=1e-2)
    shifted = regressor().fit(X, y + 1e6).predict(X) - 1e6
    np.testing.assert_allclose(shifted, expected, atol=2e-2)


@pytest.mark.parametrize("labels", [["a", "b", "c"], [7, 3, 10**17], [True, False], ["01", "1", "None"]])
def test_labels_of_any_kind(table, labels):
    X, y = table
    target = np.array(labels)[np.digitize(y, np.quantile(y, np.linspace(0, 1, len(labels) + 1)[1:-1]))]
    model = classifier().fit(X, target)
    assert model.classes_.tolist() == sorted(labels)
    assert set(model.predict(X)) <= set(labels)
    assert model.score(X, target) > 0.5


@pytest.mark.parametrize(("dtype", "expected"), [("Int64", "int64"), ("UInt8", "uint8"), ("boolean", "bool")])
def test_labels_that_could_be_missing_stay_what_they_are(table, dtype, expected):
    X, y = table
    model = classifier(max_iter=1).fit(X, pd.Series(y > 0).astype(int).astype(dtype))
    assert model.classes_.dtype == expected
    assert model.predict(X).dtype == expected


def test_durations_are_numbers():
    days = np.random.default_rng(0).permutation(100)
    X = pd.DataFrame({"stay": pd.to_timedelta(days, unit="D").where(days % 7 > 0)})
    model = regressor().fit(X, days)
    assert model.column_kinds_ == {"stay": "number"}
    gaps = np.where(days % 7 > 0, days, np.nan)[:, None]
    np.testing.assert_array_equal(regressor().fit(gaps, days).predict(gaps), model.predict(X))
    np.testing.assert_array_equal(model.predict({"stay": [None if v is pd.NaT else v for v in X["stay"]]}),
                                  model.predict(X))


def test_named_columns_are_categories():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 6, (600, 3)).astype(float)
    y = np.array([3.0, -2, 5, 0, -4, 1])[X[:, 1].astype(int)]
    by_number = regressor(categorical_features=[1]).fit(X, y)
    by_mask = regressor(categorical_features=[False, True, False]).fit(X, y)
    by_name = regressor(categorical_features=["b"]).fit(pd.DataFrame(X, columns=list("abc")), y)
    np.testing.assert_array_equal(by_number.predict(X), by_mask.predict(X))
    np.testing.assert_array_equal(by_number.predict(X), by_name.predict(pd.DataFrame(X, columns=list("abc"))))
    assert by_number.score(X, y) > 0.98
    with pytest.raises(ValueError, match=r"categorical_features has 'd'; expected names or numbers of columns"):
        regressor(categorical_features=["d"]).fit(X, y)


# ---- awkward tables --------------------------------------------------------------------------------------------------


def test_columns_of_no_use(table):
    X, y = table
    odd = X.assign(same=3, none=np.nan, empty=None, id=[f"row {i}" for i in range(len(X))], twin=X["size"],
                   constant="x", nothing=pd.Categorical([None] * len(X)))
    model = regressor().fit(odd, y)
    assert model.score(odd, y) > 0.6
    unused = model.committee_.folds[0].schema.unused
    assert unused.keys() == {"same", "none", "empty", "constant", "nothing"}
    alone = regressor().fit(odd[["same", "none"]], y)
    np.testing.assert_allclose(alone.predict(odd[["same", "none"]]), y.mean(), atol=0.3)


@pytest.mark.parametrize("rows", [2, 3, 5, 11])
def test_few_rows(rows):
    X, y = frame(rows)
    labels = np.arange(rows) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for parameters in ({}, {"n_folds": 1}):
            assert len(fb.TabularRegressor(max_iter=3, **parameters).fit(X, y).predict(X)) == rows
            assert fb.TabularClassifier(max_iter=3, **parameters).fit(X, labels).predict_proba(X).shape == (rows, 2)


def test_one_row_of_a_class(table):
    X, y = table
    labels = (y > 0).astype(int)
    labels[17] = 2
    for parameters in ({}, {"n_folds": 1}):
        model = classifier(**parameters).fit(X, labels)
        assert model.predict_proba(X).shape == (len(X), 3)


def test_one_class_is_refused(table):
    with pytest.raises(ValueError, match="y has 1 class, 'a'; expected at least two"):
        classifier().fit(table[0], ["a"] * len(table[0]))


def test_many_columns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 10_000)).astype(np.float32)
    model = regressor(max_iter=3).fit(X, 3 * X[:, 0])
    assert np.isfinite(model.predict(X)).all()


def test_many_levels():
    rng = np.random.default_rng(0)
    level = rng.integers(0, 50_000, 20_000)
    X = pd.DataFrame({"level": pd.Categorical(level.astype(str)), "x": rng.normal(size=20_000)})
    y = X["x"].to_numpy() + (level % 2)
    model = regressor(max_iter=4, n_folds=2).fit(X, y)
    assert model.score(X, y) > 0.7


def test_levels_of_a_column_of_many_tell_what_they_mean():
    rng = np.random.default_rng(0)
    value = rng.normal(size=200)
    level = rng.integers(0, 200, 4000)
    X = pd.DataFrame({"level": pd.Categorical([f"l{i}" for i in level])})
    y = value[level] + 0.1 * rng.normal(size=4000)
    assert fb.TabularRegressor(random_state=0).fit(X[:3000], y[:3000]).score(X[3000:], y[3000:]) > 0.95


@pytest.mark.parametrize("make", [classifier, regressor])
def test_columns_that_are_the_same_count_together(table, make):
    X, y = table
    target = y > 0.5 if make is classifier else y
    twice = X.assign(again=X["size"], street2=X["street"], kind2=X["kind"])
    model = make().fit(twice, target)
    assert model.score(twice, target) > make().fit(X, target).score(X, target) - 0.05
    shuffled = twice[np.random.default_rng(0).permutation(twice.columns)]
    np.testing.assert_array_equal(model.predict(shuffled), model.predict(twice))


def test_labels_that_are_missing_are_named(table):
    labels = np.where(table[1] > 0, "a", "b").astype(object)
    labels[3] = None
    with pytest.raises(ValueError, match="y has missing labels; expected one for each row"):
        classifier().fit(table[0], labels)
    with pytest.raises(ValueError, match="y has text such as 'a'; expected numbers"):
        regressor().fit(table[0], np.where(table[1] > 0, "a", "b"))


@pytest.mark.filterwarnings("error")
def test_a_frame_without_rows_yet_is_named(table):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    with pytest.raises(TypeError, match=r"X is a LazyFrame, which has no rows yet; expected a frame: X.collect\(\)"):
        regressor().fit(polars.from_pandas(table[0]).lazy(), table[1])


@pytest.mark.parametrize(("X", "message"), [
    (np.zeros((5, 0)), r"0 feature\(s\)"), (np.zeros(5), "[Rr]eshape"), ({"a": [1, 2], "b": [1]}, "different lengths"),
    (np.zeros((2, 2, 2)), "dim 3"), ({"a": [[1, 2], [3, 4]]}, "column 'a' has 2 axes"), ({"a": [1 + 2j, 3]}, "complex"),
    ({"a": [object(), 3]}, "column 'a': argument must be a string or a number")])
def test_what_is_no_table(X, message):
    with pytest.raises((TypeError, ValueError), match=message):
        regressor().fit(X, np.arange(len(X)))


def test_two_columns_of_one_name(table):
    X, y = table
    twice = pd.concat([X, X[["size"]]], axis=1)
    with pytest.raises(ValueError, match="two columns called 'size'"):
        regressor().fit(twice, y)


@pytest.mark.parametrize(("parameter", "value", "message"), [
    ("n_members", 0, "n_members is 0"), ("dropout", 1.0, "dropout is 1.0"), ("max_iter", "many", "max_iter is 'many'"),
    ("activation", "step", "activation is 'step'; expected one of 'auto', 'relu'"), ("n_folds", 0, "n_folds is 0"),
    ("learning_rate", 0.1, "learning_rate is"), ("numeric_embedding", None, "numeric_embedding is None"),
    ("time_limit", 0, "time_limit is 0"),
    ("validation_fraction", 1, "validation_fraction is 1"), ("early_stopping", "yes", "early_stopping is 'yes'"),
    ("learning_rate_init", 0, "learning_rate_init is 0"), ("batch_size", "big", "batch_size is 'big'"),
    ("max_one_hot", -1, "max_one_hot is -1"), ("category_embedding", 2.5, "category_embedding is 2.5")])
def test_parameters_that_are_none(table, parameter, value, message):
    with pytest.raises((TypeError, ValueError), match=message):
        regressor(**{parameter: value}).fit(*table)


# ---- weights, time, uncertainty --------------------------------------------------------------------------------------


def test_weights_count(table):
    X, y = table
    weights = np.where(X["yes"], 0.0, 1.0)
    assert len(regressor().fit(X, y, weights).predict(X)) == len(X)
    ones, none = regressor(n_members=1).fit(X, y, np.ones(len(X))), regressor(n_members=1).fit(X, y)
    assert np.corrcoef(ones.predict(X), none.predict(X))[0, 1] > 0.99
    labels = np.zeros(400, int)
    labels[::4] = 1
    nothing = np.zeros((400, 1))
    p = classifier().fit(nothing, labels, np.where(labels, 3.0, 1.0)).predict_proba(nothing)[0, 1]
    assert p == pytest.approx(0.5, abs=0.05)
    assert classifier().fit(nothing, labels).predict_proba(nothing)[0, 1] == pytest.approx(0.25, abs=0.05)


def test_both_take_one_list_of_parameters() -> None:
    """What is about classes has the neutral value for numbers, and no other."""
    names = {kind: set(kind().get_params()) for kind in (fb.TabularClassifier, fb.TabularRegressor)}
    assert names[fb.TabularClassifier] - names[fb.TabularRegressor] == {"calibration"}
    assert names[fb.TabularRegressor] <= names[fb.TabularClassifier]
    X, y = np.arange(40.0)[:, None], np.arange(40.0)
    for name, value, message in (("label_smoothing", 0.1, "label_smoothing is 0.1; expected 0, as numbers"),
                                 ("class_weight", "balanced", "class_weight is 'balanced'; expected None, as numbers")):
        with pytest.raises(ValueError, match=message):
            fb.TabularRegressor(**{name: value}).fit(X, y)


@pytest.mark.parametrize("weight", ["balanced", {0: 1.0, 1: 3.0}])
def test_class_weights_count(weight):
    labels = np.zeros(400, int)
    labels[::4] = 1
    nothing = np.zeros((400, 1))
    p = classifier(class_weight=weight).fit(nothing, labels).predict_proba(nothing)[0, 1]
    assert p == pytest.approx(0.5, abs=0.05)


def test_training_ends_in_time(table):
    X, y = table
    model = regressor(max_iter=10_000, time_limit=0.5, early_stopping=False).fit(X, y)
    assert 1 <= model.n_iter_ < 10_000
    assert model.predict(X).shape == y.shape


def test_standard_deviations_and_quantiles_cover_what_comes():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (3000, 2))
    y = X[:, 0] + rng.normal(0, 0.5, 3000)
    model = fb.TabularRegressor(random_state=0, max_iter=16).fit(X[:1500], y[:1500])
    mean, std = model.predict(X[1500:], return_std=True)
    np.testing.assert_array_equal(mean, model.predict(X[1500:]))
    assert std.mean() == pytest.approx(0.5, rel=0.15)
    low, high = model.predict(X[1500:], quantiles=[0.05, 0.95]).T
    assert np.mean((low < y[1500:]) & (y[1500:] < high)) == pytest.approx(0.9, abs=0.03)
    with pytest.raises(ValueError, match=r"quantiles is \[2\]; expected numbers from 0 to 1"):
        model.predict(X, quantiles=[2])
    with pytest.raises(ValueError, match="both given"):
        model.predict(X, return_std=True, quantiles=[0.5])


def test_probabilities_have_standard_deviations():
    """Larger where no rows were than among them."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (600, 2))
    model = classifier(n_folds=5).fit(X, X[:, 0] * X[:, 1] > 0.1 * rng.normal(size=600))
    p, std = model.predict_proba(X, return_std=True)
    np.testing.assert_array_equal(p, model.predict_proba(X))
    assert std.shape == p.shape
    near = np.abs(p[:, 0] - 0.5) < 0.2
    assert std[near].mean() > 1.5 * std[~near].mean()


def test_a_line_for_each_epoch(table, capsys):
    classifier(verbose=True).fit(table[0], table[1] > 0)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1/8   loss ")
    assert "   held out 0." in lines[-1]


@pytest.mark.parametrize("parameters", [
    {"numeric_embedding": "none"}, {"numeric_embedding": "periodic"}, {"numeric_embedding": "piecewise"},
    {"n_members": 4}, {"learning_rate": "flat_cos"}, {"learning_rate": "constant", "learning_rate_init": 0.01},
    {"activation": "gelu"}, {"hidden_layer_sizes": ()}, {"dropout": 0.0, "weight_decay": 0.0}, {"batch_size": 32}])
def test_variants_learn(table, parameters):
    X, y = table
    assert regressor(**{"max_iter": 16, **parameters}).fit(X, y).score(X, y) > 0.8


@pytest.mark.parametrize(("make", "scoring"), [
    (classifier, "log_loss"), (classifier, "roc_auc"), (classifier, "accuracy"), (regressor, "rmse"),
    (regressor, "mae")])
def test_epochs_are_chosen_by_a_score(table, make, scoring):
    X, y = table
    model = make(scoring=scoring).fit(X, y > 0.5 if make is classifier else y)
    assert model.score(X, y > 0.5 if make is classifier else y) > 0.6
    best = int(np.argmin(model.scores_)) + 1
    assert best in model.epochs_
    with pytest.raises(ValueError, match="scoring is 'f1'; expected one of 'auto'"):
        make(scoring="f1").fit(X, y > 0.5)


# ---- more rows -------------------------------------------------------------------------------------------------------


def test_more_rows_are_learnt_from():
    X, y = frame(900)
    test, y_test = frame(400, seed=1)
    model = regressor().fit(X[:150], y[:150])
    before = model.score(test, y_test)
    for begin in range(150, 900, 150):
        model.partial_fit(X[begin:begin + 150], y[begin:begin + 150])
    assert model.score(test, y_test) > before + 0.01
    labels = np.array(["a", "b", "c"])[np.digitize(y, [0, 1])]
    parts = classifier().partial_fit(X[:150], labels[:150], classes=["a", "b", "c", "d"])
    assert parts.classes_.tolist() == ["a", "b", "c", "d"]
    before = parts.score(X, labels)
    for begin in range(150, 900, 150):
        parts.partial_fit(X[begin:begin + 150], labels[begin:begin + 150])
    assert parts.score(X, labels) > before
    with pytest.raises(ValueError, match=r"y has \['e'\]; expected a label for each of the 2 rows, among \['a', "):
        parts.partial_fit(X[:2], ["a", "e"])
    with pytest.raises(ValueError, match=r"expected .*, as in the first call"):
        parts.partial_fit(X[:2], ["a", "b"], classes=["a", "b"])


# ---- why -------------------------------------------------------------------------------------------------------------


def test_what_columns_add_is_the_difference(fitted, table):
    X = table[0]
    for i in (0, 5):
        found = fitted[1].explain_row(X.iloc[[i]])
        assert found.output == pytest.approx(fitted[1].predict(X.iloc[[i]])[0], abs=1e-3)
        assert sum(adds for *_, adds in found.columns) + found.missed == pytest.approx(found.output - found.baseline)
        assert abs(found.missed) < 0.02
        p = fitted[0].predict_proba(X.iloc[[i]])[0]
        why = fitted[0].explain_row(X.iloc[[i]])
        assert why.what == f"log odds of {fitted[0].classes_.tolist()[p.argmax()]!r}"
        assert abs(why.missed) < 0.2
        row = X.iloc[i]
        assert str(fitted[1].explain_row(row)) == str(fitted[1].explain_row(row.to_dict())) == str(found)


def test_a_row_of_an_array_is_explained():
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = regressor(max_iter=2).fit(X, X[:, 0])
    assert str(model.explain_row(X[3])) == str(model.explain_row(X[3].tolist())) == str(model.explain_row(X[3:4]))


def test_an_additive_function_is_told_apart():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.uniform(-1, 1, 1500), "b": rng.choice(["u", "v", "w"], 1500),
                      "<c>": rng.uniform(size=1500)})
    b = {"u": 0.0, "v": 2.0, "w": -1.0}
    y = 3 * X["a"] + X["b"].map(b)
    model = fb.TabularRegressor(random_state=0).fit(X, y)
    row = pd.DataFrame({"a": [0.8], "b": ["v"], "<c>": [0.1]})
    found = model.explain_row(row)
    adds = {name: value for name, _, value in found.columns}
    assert adds["a"] == pytest.approx(2.4 - 3 * X["a"].median(), abs=0.2)
    assert abs(adds["<c>"]) < 0.1
    assert "  a    0.8" in str(found)
    assert "&lt;c&gt;" in found.html()
    assert "<c>" not in found._repr_html_()
    with pytest.raises(ValueError, match="X has 2 rows; expected one"):
        model.explain_row(X[:2])


@pytest.mark.parametrize("size", [0, 1, 8])
def test_what_embedded_levels_add_is_told(size):
    rng = np.random.default_rng(0)
    value = np.linspace(-2, 2, 20)
    level, other = rng.integers(0, 20, 2000), rng.integers(0, 15, 2000)
    X = pd.DataFrame({"level": [f"l{i}" for i in level], "other": [f"o{i}" for i in other]})
    model = regressor(max_iter=32, category_embedding=size).fit(X, value[level])
    assert model.committee_.folds[0].architecture.categories == (2 if size else 0)
    low, high = ({c[0]: c[2] for c in model.explain_row({"level": [name], "other": ["o3"]}).columns}
                 for name in ("l0", "l19"))
    assert high["level"] - low["level"] == pytest.approx(4, abs=0.6)
    assert abs(high["other"]) < 0.3
    assert model.predict({"level": ["new"], "other": [None]})[0] == pytest.approx(0, abs=1)


@pytest.mark.parametrize("weight", ["balanced", {"c": 3.0}])
def test_weights_of_classes_are_those_of_the_first_call(weight, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    y = np.where(X[:, 0] > 0.5, "b", "a")
    make = fb.TabularClassifier(max_iter=2, n_folds=2, class_weight=weight, random_state=0)
    clf = make.partial_fit(X, y, classes=["a", "b", "c"])
    clf.save(tmp_path / "a.safetensors")
    more = X[y == "a"], y[y == "a"]
    assert clf.partial_fit(*more).predict_proba(X).shape == (90, 3)
    loaded = fb.load(tmp_path / "a.safetensors").partial_fit(*more)
    np.testing.assert_array_equal(loaded.predict_proba(X), clf.predict_proba(X))


@pytest.mark.parametrize("classes", [True, False])
def test_more_rows_have_weights(classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, 2))
    y = X[:, 0] > 0 if classes else X[:, 0]
    make = fb.TabularClassifier if classes else fb.TabularRegressor
    half = np.arange(90) < 45

    def after(X, y, weights):
        return make(max_iter=2, n_folds=2, random_state=0).fit(X0, y0).partial_fit(X, y, sample_weight=weights)
    X0, y0 = X, y
    said = after(X, y, half.astype(float)).predict(X)
    np.testing.assert_array_equal(said, after(X[half], y[half], np.ones(45)).predict(X))
    first = make(max_iter=2, n_folds=2, random_state=0).partial_fit(X, y, sample_weight=half + 1.0).predict(X)
    again = make(max_iter=2, n_folds=2, random_state=0).fit(X, y, sample_weight=half + 1.0).predict(X)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("labels", [[True, False], [3, 7]])
def test_labels_that_pandas_left_as_objects(labels):
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.where(X[:, 0] > 0, *labels)
    plain, held = (fb.TabularClassifier(max_iter=2, n_folds=2, random_state=0).fit(X, t) for t in (y, y.astype(object)))
    assert held.classes_.dtype == plain.classes_.dtype
    np.testing.assert_array_equal(held.predict(X), plain.predict(X))


def test_dates_are_classes_of_files_too(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))
    y = np.where(X[:, 0] > 0, np.datetime64("2020-01-01"), np.datetime64("2021-06-30"))
    clf = fb.TabularClassifier(max_iter=2, n_folds=2, random_state=0).fit(X, y)
    clf.save(tmp_path / "a.safetensors")
    loaded = fb.load(tmp_path / "a.safetensors")
    assert loaded.classes_.dtype == y.dtype
    np.testing.assert_array_equal(loaded.predict(X), clf.predict(X))
