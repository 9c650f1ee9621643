"""scikit-learn's own callbacks (1.9 and later): ``estimator.set_callbacks(ProgressBar())``.

With an older scikit-learn there are none, and all here does nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastbp.training.callback import Callback, Logs, Training

F = TypeVar("F", bound=Callable[..., Any])
CallbackSupport: Any
with_callbacks: Callable[[F], F]
try:
    from sklearn import callback as _callback
except ImportError:
    CallbackSupport, with_callbacks = type("NoCallbacks", (), {}), lambda method: method
else:
    CallbackSupport, with_callbacks = _callback.CallbackSupportMixin, _callback.with_callbacks


class Observer(Callback):
    """Tells scikit-learn's callbacks of an estimator about the fit and each of its epochs or iterations."""

    def __init__(self, owner: Any, X: Any, y: Any) -> None:
        self._owner, self._data = owner, {"estimator": owner, "X": X, "y": y}
        self._whole = owner._init_callback_context(max_subtasks=owner.max_iter)
        self._whole.call_on_fit_task_begin(**self._data)
        self._part: Any = None

    def begin(self) -> None:
        """Tell that an epoch begins."""
        self._part = self._whole.subcontext(task_name="epoch")
        self._part.call_on_fit_task_begin(**self._data)

    def end(self) -> bool:
        """Tell that the epoch has ended, if one is under way, and return whether a callback wants to stop."""
        part, self._part = self._part, None
        if part is None:
            return False
        return bool(part.call_on_fit_task_end(**self._data, reconstruction_attributes=self._fitted))

    def finish(self) -> None:
        """Tell that the fit has ended."""
        self.end()
        self._whole.call_on_fit_task_end(**self._data, reconstruction_attributes=self._fitted)

    def on_epoch_begin(self, trainer: Training, epoch: int) -> None:
        self.begin()

    def on_epoch_end(self, trainer: Training, epoch: int, logs: Logs) -> None:
        if self.end():
            trainer.stop = True

    def _fitted(self) -> dict[str, Any]:
        return {"network_": self._owner.network_.copy()}


def observe(owner: Any, X: Any, y: Any) -> Observer | None:
    """Return what tells scikit-learn's callbacks about a fit, or None where the estimator has none."""
    return Observer(owner, X, y) if getattr(owner, "_skl_callbacks", None) else None
