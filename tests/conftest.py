"""What several test files share."""

from __future__ import annotations

import signal
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastbp.graph.graph import Graph


def backends() -> list[str]:
    """Return the backends that this installation has, for ``pytest.mark.parametrize``."""
    return ["reference", "native"] if find_spec("fastbp.engine.native") is not None else ["reference"]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ops that plans call in NumPy, of all networks made from here on."""
    from fastbp.engine import native_backend

    names: list[str] = []
    make = native_backend.fused

    def noted(graph: Graph, find: Callable[[str], int]) -> Graph:
        made = make(graph, find)
        names.extend(n.op.name for n in made.nodes if n.op.calls_back)
        return made
    monkeypatch.setattr(native_backend, "fused", noted)
    return names


# The suite tries the same examples every time; with --hypothesis-profile=fuzz there are new ones (tools/fuzz.sh).
settings.register_profile("suite", max_examples=60, deadline=None, derandomize=True, database=None,
                          suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", max_examples=300, deadline=None, print_blob=True,
                          suppress_health_check=list(HealthCheck))
settings.load_profile("suite")

# A shell that starts the suite in the background lets it ignore Ctrl-C, which all processes of the tests would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)
