"""From a graph to a plan: the nodes, buffers and steps that the native backend runs, still without memory.

A :class:`Lowering` walks the graph once forwards and once backwards and decides what is fused: an activation into the
linear op before it, its derivative into the backward pass of the linear op after it, an optimizer's update into the
weight gradient. What it makes mirrors ``src_c/fastbp.h``: a :class:`PlanNode` becomes an ``fbp_node``, a
:class:`Step` an ``fbp_step``, and a program is a list of steps in groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from fastbp.engine.python_nodes import PythonLoss, PythonNode
from fastbp.graph.graph import Graph, Node, Parameter, Tensor
from fastbp.objectives.losses import Loss
from fastbp.ops.base import Native
from fastbp.ops.linear import LinearOp

Kind = Literal["real", "float64", "int64"]

# Weights of more elements are transposed as they are read, and all of those whose products copy their operands anyway.
_LARGEST_TRANSPOSED = 2**18


@dataclass(eq=False)
class Buffer:
    """Memory of the plan: ``per_row`` elements for each row of the batch, and ``fixed`` more."""

    per_row: int = 0
    fixed: int = 0
    kind: Kind = "real"


@dataclass(frozen=True)
class Ref:
    """Part of the network's own vectors: ``vector`` is "params", "grads" or "buffers"."""

    vector: str
    name: str


Place = Buffer | Ref | None


@dataclass(eq=False)
class PlanNode:
    """An ``fbp_node``: one use of one op. Field by field as there."""

    op: str
    dims: tuple[int, ...] = ()
    attrs: tuple[float, ...] = ()
    x: Sequence[Place] = ()
    dx: Sequence[Place] = ()
    y: Place = None
    dy: Place = None
    p: Sequence[Place] = ()
    dp: Sequence[Place] = ()
    buffers: Sequence[Place] = ()
    save: Sequence[Place] = ()
    aux: Place = None
    constants: tuple[float, ...] = ()
    target: Place = None
    weight: Place = None
    row_loss: Place = None
    id: int = 0
    act: str = "identity"
    act_alpha: float = 0.0
    in_act: str = "identity"
    in_alpha: float = 0.0
    in_from: Place = None
    fused: bool = False
    bf16: bool = False
    call: Callable[..., None] | None = None
    """What a "python" node calls back, with the plan."""
    roles: tuple[str, ...] = ()
    """What its op calls p, in order."""


@dataclass(frozen=True)
class Step:
    """One phase of one node. ``stage`` is empty for phases over rows; unit phases that may run together share one."""

    node: PlanNode
    phase: str
    stage: str = ""

    def cost(self, capacity: int) -> float:
        """Estimate the nanoseconds that one row, or one unit, takes in one thread, in a batch of so many rows."""
        node, phase = self.node, self.phase
        if node.op == "linear":
            count, i, o = node.dims
            multiply = 0.007 if node.bf16 else 0.012
            if phase in ("forward", "backward"):
                return multiply * count * i * o + 2
            return (multiply * count * capacity * o if phase == "gradient" else 0) + o
        if phase in ("update", "accumulate_units"):
            return 0.5
        if phase in ("forward_reduce", "backward_reduce", "gradient"):
            return 0.5 * capacity
        if phase == "feed" and isinstance(node.y, Buffer):
            return 0.1 * node.y.per_row
        if phase == "call":
            return 1.0      # in the calling thread, as far as that is up to us
        return 1.0 * prod(node.dims or (1,))


@dataclass(frozen=True)
class LossSpec:
    """A loss as the plan sees it: the C op, its sizes, and what one row of targets is."""

    op: str
    native: Native
    target_shape: tuple[int, ...]
    target_kind: Kind
    loss: Loss | None = None
    """The loss itself, where it is to be called back."""


@dataclass(frozen=True)
class Settings:
    """What a plan is for.

    ``losses`` is empty where gradients of the outputs come from outside; ``backward`` is False for inference.
    """

    losses: tuple[LossSpec, ...] = ()
    weighted: bool = False
    backward: bool = False
    input_grads: bool = False
    fused: bool = False


@dataclass
class _Use:
    """How a tensor is used: by which nodes, and at which of their inputs."""

    consumers: list[tuple[Tensor, int]] = field(default_factory=list)
    outputs: int = 0

    @property
    def count(self) -> int:
        return len(self.consumers) + self.outputs


class Lowering:
    """A graph, lowered for the given settings.

    Parameters
    ----------
    graph : Graph
    settings : Settings
    phases : callable
        ``phases(op)`` is the set of phases that the C op has.
    compute_dtype : str, optional
        "bfloat16" lets linear layers multiply in it.

    Attributes
    ----------
    values, grads : dict of Tensor to Buffer
        Where tensors and their gradients are, as far as they are kept.
    feeds : list of PlanNode
        One for each input, then for each target, then for the weights: they copy rows from outside.
    prepare, forward, loss, backward, gradients, updates : list of Step
        Pieces of programs, in the order in which they run.
    """

    def __init__(self, graph: Graph, settings: Settings, phases: Callable[[str], frozenset[str]],
                 compute_dtype: str = "") -> None:
        self.graph, self.settings, self._phases, self._compute_dtype = graph, settings, phases, compute_dtype
        self.values: dict[Tensor, Buffer] = {}
        self.grads: dict[Tensor, Buffer] = {}
        self.feeds: list[PlanNode] = []
        self.prepare: list[Step] = []
        self.first: list[Step] = []
        self.forward: list[Step] = []
        self.loss: list[Step] = []
        self.backward: list[Step] = []
        self.gradients: list[Step] = []
        self.updates: list[Step] = []
        self.loss_nodes: list[PlanNode] = []
        self._nodes: dict[Tensor, PlanNode] = {}
        self._python: dict[Tensor, PythonNode] = {}
        self._stages = 0
        self._index = {t: i for i, t in enumerate(graph.tensors)}
        self._uses = self._find_uses()
        self._wants_grad = self._find_wanted()
        self._fused_into = self._find_fused_activations()
        self._lower_forward()
        self._lower_losses()
        if settings.backward:
            self._lower_backward()
            self._lower_parameters()

    # ---- what is used, wanted, fused ------------------------------------------------------------------------------

    def _find_uses(self) -> dict[Tensor, _Use]:
        uses = {t: _Use() for t in self.graph.tensors}
        for t in self.graph.tensors:
            for i, source in enumerate(t.node.inputs if t.node else ()):
                uses[source].consumers.append((t, i))
        for t in self.graph.outputs:
            uses[t].outputs += 1
        return uses

    def _find_wanted(self) -> dict[Tensor, bool]:
        """Whether the gradient of a tensor is needed: something trained, or a wanted input, lies before it."""
        wanted: dict[Tensor, bool] = {}
        for t in self.graph.tensors:
            if t.node is None:
                wanted[t] = self.settings.input_grads
            else:
                wanted[t] = any(wanted[s] for s in t.node.inputs) or any(p.trainable for p in t.node.params.values())
        return wanted

    def _find_fused_activations(self) -> dict[Tensor, Tensor]:
        """From a linear op's output to the output of the activation computed with it."""
        fused: dict[Tensor, Tensor] = {}
        for t in self.graph.tensors:
            if t.node is not None and hasattr(t.node.op, "derivative_from"):
                source = t.node.inputs[0]
                if source.node is not None and source.node.op.name == "linear" and self._uses[source].count == 1:
                    fused[source] = t
        return fused

    # ---- forward --------------------------------------------------------------------------------------------------

    def _lower_forward(self) -> None:
        for t in self.graph.inputs:
            self.values[t] = Buffer(prod(t.shape))
            self.feeds.append(_feed(self.values[t]))
            self.forward.append(Step(self.feeds[-1], "feed"))
        done: set[Tensor] = set()
        for t in self.graph.tensors:
            if t.node is None or t in done:
                continue
            if t.node.op.is_view:
                self.values[t] = self.values[t.node.inputs[0]]
                continue
            node = self._node(t, t.node)
            out = self._fused_into.get(t, t)
            if out is not t and out.node is not None:
                done.add(out)
                needs_input = getattr(out.node.op, "derivative_from", "output") == "input"
                alpha = out.node.op.native(t.shape).alpha
                node.act, node.act_alpha = out.node.op.name, alpha
                if needs_input and self.settings.backward:
                    self.values[t] = Buffer(prod(t.shape))
                    node.save = (self.values[t],)
            self.values[out] = Buffer(prod(out.shape))
            node.y = self.values[out]
            self._nodes[t] = node
            if node.op == "python":
                self._python[t] = PythonNode(t, node.id, node.x, self.values[t], self._names_of(t.node))
                node.call = self._python[t].forward
            self._unit_step(self.forward, node, "call")
            self._unit_step(self.forward, node, "forward_reduce")
            self._row_step(self.forward, node, "forward")

    def _names_of(self, node: Node) -> dict[str, dict[str, str]]:
        """Return the full names of a node's parameters and buffers, by role."""
        return {kind: {r: self.graph.parameter_name(p) for r, p in getattr(node, kind).items()}
                for kind in ("params", "buffers")}

    def _node(self, t: Tensor, node: Node) -> PlanNode:
        if node.op.name == "python":
            return PlanNode(op="python", x=[self.values[s] for s in node.inputs], id=self._index[t],
                            roles=tuple(node.params))
        native = node.op.native(*(s.shape for s in node.inputs))
        return PlanNode(
            op=node.op.name, dims=native.dims, attrs=native.attrs, act_alpha=native.alpha, id=self._index[t],
            act=node.op.name if hasattr(node.op, "derivative_from") else "identity",
            bf16=isinstance(node.op, LinearOp) and node.op.rounds(self._compute_dtype),
            x=[self.values[s] for s in node.inputs],
            p=[self._ref("params", node.params.get(r)) for r in native.params], roles=native.params,
            buffers=[self._ref("buffers", node.buffers.get(r)) for r in native.buffers],
            save=[Buffer(per_row, fixed) for per_row, fixed in native.saves])

    def _ref(self, vector: str, parameter: Parameter | None) -> Ref | None:
        return None if parameter is None else Ref(vector, self.graph.parameter_name(parameter))

    # ---- losses ---------------------------------------------------------------------------------------------------

    def _lower_losses(self) -> None:
        if not self.settings.losses:
            return
        weight = Buffer(1) if self.settings.weighted else None
        for t, spec in zip(self.graph.outputs, self.settings.losses, strict=True):
            target = Buffer(prod(spec.target_shape), kind=spec.target_kind)
            self.feeds.append(_feed(target))
            self.first.append(Step(self.feeds[-1], "feed"))
            groups = spec.native.dims[0]
            row_loss = Buffer(groups, kind="float64")
            node = PlanNode(op=spec.op, dims=spec.native.dims, attrs=spec.native.attrs, x=[self.values[t]],
                            constants=spec.native.constants, target=target, weight=weight, aux=Buffer(groups),
                            row_loss=row_loss, id=self._index[t])
            if self.settings.backward and self._wants_grad[t]:
                self.grads[t] = Buffer(prod(t.shape))
                node.dx = [self.grads[t]]
            if spec.loss is not None:
                called = PythonLoss(spec.loss, self.values[t], t.shape, target, spec.target_shape, weight,
                                    row_loss)
                called.dx = node.dx[0] if node.dx else None
                node.call = called.forward
            self.loss_nodes.append(node)
        if weight is not None:
            self.feeds.append(_feed(weight))
            self.first.append(Step(self.feeds[-1], "feed"))
        for node in self.loss_nodes:
            self._unit_step(self.first, node, "forward_reduce", "weights")
            self._row_step(self.loss, node, "forward")
            self._unit_step(self.loss, node, "call")

    # ---- backward -------------------------------------------------------------------------------------------------

    def _lower_backward(self) -> None:
        written = {t: self._uses[t].outputs for t in self.graph.tensors}
        for t in self.graph.outputs:
            if self._wants_grad[t] and t not in self.grads:
                self.grads[t] = Buffer(prod(t.shape))
        made_by_linear = {out: lin for lin, out in self._fused_into.items()}
        for t in reversed(self.graph.tensors):
            if t.node is None or not self._wants_grad[t]:
                continue
            if t in made_by_linear:
                self._activation_backward(t, made_by_linear[t])
            elif t.node.op.is_view:
                self._view_backward(t, t.node.inputs[0], written)
            else:
                self._node_backward(t, self._nodes[t], written)

    def _folds(self, out: Tensor) -> bool:
        """Whether the backward pass of the only op that uses ``out`` goes on to the input of ``out``'s activation."""
        use = self._uses[out]
        return use.count == 1 and use.outputs == 0 and use.consumers[0][0].node.op.name == "linear"  # type: ignore[union-attr]

    def _activation_backward(self, out: Tensor, linear: Tensor) -> None:
        if self._folds(out):
            return          # the consumer has written the gradient of the linear op's output already
        node = self._nodes[linear]
        assert out.node is not None
        self.grads[linear] = Buffer(prod(linear.shape))
        step = PlanNode(op=node.act, act=node.act, act_alpha=node.act_alpha, dims=out.node.op.native(out.shape).dims,
                        x=[self.values.get(linear)], y=self.values[out], dy=self.grads[out], dx=[self.grads[linear]])
        self._row_step(self.backward, step, "backward")

    def _view_backward(self, t: Tensor, source: Tensor, written: dict[Tensor, int]) -> None:
        if not self._wants_grad[source]:
            return
        written[source] += 1
        size = prod(t.shape)
        if self._uses[source].count == 1:
            self.grads[source] = self.grads[t]
        elif written[source] == 1:
            self.grads[source] = Buffer(size)
            copy = PlanNode(op="add", dims=(size,), dy=self.grads[t], dx=[self.grads[source]])
            self._row_step(self.backward, copy, "backward")
        else:
            self._accumulate(source, self.grads[t])

    def _node_backward(self, t: Tensor, node: PlanNode, written: dict[Tensor, int]) -> None:
        assert t.node is not None
        node.dy = self.grads[t]
        targets: list[Place] = []
        late: list[tuple[Tensor, Buffer]] = []
        for source in t.node.inputs:
            if not self._wants_grad[source]:
                targets.append(None)
                continue
            written[source] += 1
            if node.op == "add" and self._uses[source].count == 1:
                self.grads[source] = self.grads[t]          # both are read only from here on
                targets.append(node.dy)
            elif written[source] == 1:
                targets.append(self._gradient_target(node, source))
            else:
                late.append((source, Buffer(prod(source.shape))))
                targets.append(late[-1][1])
        node.dx = targets
        if node.op == "linear" and targets[0] is not None:
            node.aux = self._transposed(node)
        if t in self._python:
            called = self._python[t]
            called.dx, called.dy = targets, node.dy
            step = PlanNode(op="python", x=node.x, dx=targets, dy=node.dy, call=called.backward)
            self._unit_step(self.backward, step, "call")
        self._unit_step(self.backward, node, "backward_reduce")
        self._row_step(self.backward, node, "backward")
        for source, buffer in late:
            self._accumulate(source, buffer)

    def _gradient_target(self, node: PlanNode, source: Tensor) -> Buffer:
        """Where a node writes the first gradient of an input: past that input's activation, where it can."""
        linear = next((lin for lin, out in self._fused_into.items() if out is source), None)
        if linear is None or node.op != "linear" or not self._folds(source):
            self.grads[source] = Buffer(prod(source.shape))
            return self.grads[source]
        before = self._nodes[linear]
        node.in_act, node.in_alpha = before.act, before.act_alpha
        node.in_from = self.values[linear] if linear in self.values else self.values[source]
        self.grads[linear] = Buffer(prod(linear.shape))
        return self.grads[linear]

    def _transposed(self, node: PlanNode) -> Buffer | None:
        """The transposed weight of a linear node, where one is kept; uses of one weight share it."""
        if node.bf16 or node.dims[1] * node.dims[2] > _LARGEST_TRANSPOSED:
            return None
        for step in self.prepare:
            if step.node.p[0] == node.p[0] and isinstance(step.node.aux, Buffer):
                return step.node.aux
        self.prepare.append(Step(node, "prepare", "prepare"))
        return Buffer(fixed=node.dims[1] * node.dims[2])

    def _accumulate(self, t: Tensor, more: Buffer) -> None:
        node = PlanNode(op="", dims=(prod(t.shape),), x=[self.grads[t], more])
        self.backward.append(Step(node, "accumulate_rows"))

    # ---- parameters -----------------------------------------------------------------------------------------------

    def _lower_parameters(self) -> None:
        """Gradients of the parameters, their sums over several uses, and the updates."""
        uses: dict[str, int] = {}
        for t in self._nodes:
            for name in self._trained(t).values():
                uses[name] = uses.get(name, 0) + 1
        fused: set[str] = set()
        seen: dict[str, int] = {}
        sums: list[Step] = []
        for t, node in self._nodes.items():
            trained = self._trained(t)
            dp: list[Place] = []
            for role in node.roles:
                used = trained.get(role)
                if used is None:
                    dp.append(None)
                    continue
                name = used
                seen[name] = seen.get(name, 0) + 1
                size = prod(self.graph.parameters[name].shape)
                dp.append(Ref("grads", name) if seen[name] == 1 else Buffer(fixed=size))
                if seen[name] > 1:
                    sums.append(Step(PlanNode(op="", dims=(size,), x=[Ref("grads", name), dp[-1]]), "accumulate_units",
                                     f"sum {seen[name]}"))
            node.dp = dp
            if t in self._python:
                self._python[t].dp = dict(zip(node.roles, dp, strict=True))
            if not trained:
                continue
            if self.settings.fused and node.op == "linear" and all(uses[n] == 1 for n in trained.values()):
                node.fused = True
                fused.update(trained.values())
            self._unit_step(self.gradients, node, "gradient", "gradients")
        self.gradients += sorted(sums, key=lambda s: s.stage)
        for name, p in self.graph.parameters.items():
            if p.trainable and name not in fused:
                node = PlanNode(op="", dims=(prod(p.shape),), p=[Ref("params", name)], dp=[Ref("grads", name)])
                self.updates.append(Step(node, "update", "update"))

    def _trained(self, t: Tensor) -> dict[str, str]:
        assert t.node is not None
        return {r: self.graph.parameter_name(p) for r, p in t.node.params.items() if p.trainable}

    @property
    def calls_back(self) -> bool:
        """Whether a node is written in Python."""
        return bool(self._python) or any(n.call is not None for n in self.loss_nodes)

    def read_in_place(self, nodes: Sequence[PlanNode]) -> list[tuple[int, str, int]]:
        """Find the pointers that can be set to rows of the data set itself, instead of to a copy of them.

        Each is the number of a node, the pointer's name, and the number of the feed. None where Python is called back:
        its views are of the plan's own memory.
        """
        found: list[tuple[int, str, int]] = []
        for feed, source in enumerate(() if self.calls_back else self.feeds):
            for number, node in enumerate(nodes):
                places = {"target": node.target, "weight": node.weight, "in_from": node.in_from}
                places |= {f"x{i}": place for i, place in enumerate(node.x)}
                found += [(number, field, feed) for field, place in places.items() if place is source.y]
        return found

    def refresh(self) -> list[Step]:
        """The prepare steps that updates leave to be done: fused nodes do their own."""
        return [s for s in self.prepare if not s.node.fused and s.node.dp and s.node.dp[0] is not None]

    # ---- steps ----------------------------------------------------------------------------------------------------

    def _row_step(self, steps: list[Step], node: PlanNode, phase: str) -> None:
        if phase in self._phases(node.op):
            steps.append(Step(node, phase))

    def _unit_step(self, steps: list[Step], node: PlanNode, phase: str, stage: str | None = None) -> None:
        if phase in self._phases(node.op):
            self._stages += stage is None
            steps.append(Step(node, phase, stage or f"alone {self._stages}"))


def _feed(to: Buffer) -> PlanNode:
    return PlanNode(op="", y=to)


def groups(steps: Iterable[Step]) -> list[tuple[Step, int]]:
    """Number the groups of a program: neighbouring steps over rows, or of one stage, are of one group."""
    numbered: list[tuple[Step, int]] = []
    group, stage = -1, None
    for step in steps:
        if step.stage != stage:
            group, stage = group + 1, step.stage
        numbered.append((step, group))
    return numbered


def nodes_of(programs: Iterable[Sequence[Step]]) -> list[PlanNode]:
    """All nodes of some programs, each once."""
    found: dict[int, PlanNode] = {id(s.node): s.node for program in programs for s in program}
    return list(found.values())


def buffers_of(nodes: Iterable[PlanNode]) -> list[Buffer]:
    """All buffers of some nodes, each once."""
    found: dict[int, Buffer] = {}
    for n in nodes:
        places: list[Any] = [*n.x, *n.dx, n.y, n.dy, *n.p, *n.dp, *n.save, n.aux, n.target, n.weight, n.row_loss,
                             n.in_from]
        found.update({id(b): b for b in places if isinstance(b, Buffer)})
    return list(found.values())
