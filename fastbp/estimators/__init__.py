"""scikit-learn estimators: ``fb.MLPClassifier`` and ``fb.MLPRegressor``, in place of scikit-learn's of the same names.

``fb.NetworkClassifier`` and ``fb.NetworkRegressor`` are made of networks of one's own.

`mlp` has what both share: fit and predict. `mlp_network` builds the network, `objective` says what is minimised,
`solvers` which way and for how long, `observers` hands events on to scikit-learn's own callbacks. `network_estimator`
has the others.
"""

try:
    import sklearn  # noqa: F401
except ImportError:
    raise ModuleNotFoundError("fastbp's estimators need scikit-learn; install it with: "
                              "pip install 'fastbp[sklearn]'", name="sklearn") from None

from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.network_estimator import NetworkClassifier, NetworkRegressor
from fastbp.estimators.regressor import MLPRegressor
from fastbp.estimators.tabular.tabular_classifier import TabularClassifier
from fastbp.estimators.tabular.tabular_regressor import TabularRegressor
from fastbp.estimators.tabular.transformers import QuantileBins, RobustSmoothScaler

__all__ = ["MLPClassifier", "MLPRegressor", "NetworkClassifier", "NetworkRegressor", "QuantileBins",
           "RobustSmoothScaler", "TabularClassifier", "TabularRegressor"]
