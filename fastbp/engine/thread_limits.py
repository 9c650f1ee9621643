"""Tells threadpoolctl of fastbp's threads, once both are imported: its limits then hold here, too.

scikit-learn and joblib limit threads in that way. Neither package is made to import the other.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_NAME = "threadpoolctl"


def _register(threadpoolctl: Any) -> None:
    """Give threadpoolctl a controller of fastbp's threads; a version that takes none is left alone."""
    if not hasattr(threadpoolctl, "register"):
        return
    from fastbp.engine import native  # a library must be loaded to be found

    class FastbpController(threadpoolctl.LibController):  # type: ignore[misc]
        """How threadpoolctl reads and sets the number of threads."""

        user_api = internal_api = "fastbp"
        filename_prefixes = ("native",)
        check_symbols = ("fbp_pool_run",)

        def get_num_threads(self) -> int:
            return int(native.get_threads())

        def set_num_threads(self, num_threads: int) -> None:
            native.set_threads(max(1, min(int(num_threads), 255)))

        def get_version(self) -> str:
            from importlib.metadata import version
            return version("fastbp")

    threadpoolctl.register(FastbpController)


class _Watch(MetaPathFinder):
    """Waits until threadpoolctl is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _NAME:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def watch_threadpoolctl() -> None:
    """Register the controller, now or as soon as threadpoolctl is imported."""
    if _NAME in sys.modules:
        _register(sys.modules[_NAME])
    else:
        sys.meta_path.insert(0, _Watch())
