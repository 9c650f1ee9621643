"""From a graph to a plan: the nodes, buffers and steps that the native backend runs, still without memory.

A :class:`Lowering` walks the graph once forwards and once backwards and decides, by what the ops say of themselves
(``fastbp/ops/base.py``), what is fused: an activation into the op before it, its derivative into the backward pass of
the op after it, an optimizer's update into a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from fastbp.engine.plan_parts import Buffer, LossPart, NetworkArray, Place, PlanNode, PlanStep, Purpose, TakenActivation
from fastbp.engine.program import function_of
from fastbp.engine.python_nodes import PythonLoss, PythonNode
from fastbp.graph.graph import Graph, Node, Parameter, Tensor
from fastbp.ops.base import ROW_UNITS, Among, Native, Work
from fastbp.ops.expression import TIMES_ROWS, elements

# A multiply-add of operands rounded to bfloat16, beside a whole one.
_BF16_COST = 7 / 12
# Nanoseconds for copying an element.
_COPY_COST = 1.0


@dataclass
class _Use:
    """How a tensor is used: by which nodes, and at which of their inputs."""

    consumers: list[tuple[Tensor, int]] = field(default_factory=list)
    outputs: int = 0

    @property
    def count(self) -> int:
        return len(self.consumers) + self.outputs


class Lowering:
    """A graph, lowered for the given purpose.

    Parameters
    ----------
    graph : Graph
    purpose : Purpose
    phases : callable
        ``phases(op)`` is the set of phases that the C op has.
    compute_dtype : str, optional
        "bfloat16" lets ops that can multiply in it.

    Attributes
    ----------
    values, grads : dict of Tensor to Buffer
        Where tensors and their gradients are, as far as they are kept.
    feeds : list of PlanNode
        One for each input, then for each target, then for the weights: they copy rows from outside.
    constants : list of PlanStep
        What is made of parameters and running statistics alone, before rows come.
    prepare, first, forward, loss, backward, gradients, updates : list of PlanStep
        Pieces of programs, in the order in which they run.
    again : list of PlanStep
        What of forward is to run again before backward runs once more.
    applied : list of PlanStep
        The updates where gradients may have come from elsewhere.
    touched : dict of str to Place
        Of tables that are updated row by row, where the plan keeps which rows a mini-batch touched.
    unreached : list of str
        Parameters that are trained, but that no gradient reaches: theirs is 0.
    reached : frozenset of str
        Those whose gradients the plan writes.
    """

    def __init__(self, graph: Graph, purpose: Purpose, phases: Callable[[str], frozenset[str]],
                 compute_dtype: str = "") -> None:
        self.graph, self.purpose, self._phases, self._compute_dtype = graph, purpose, phases, compute_dtype
        self.values: dict[Tensor, Buffer] = {}
        self.grads: dict[Tensor, Buffer] = {}
        self.feeds: list[PlanNode] = []
        self.constants: list[PlanStep] = []
        self.prepare: list[PlanStep] = []
        self.first: list[PlanStep] = []
        self.forward: list[PlanStep] = []
        self.again: list[PlanStep] = []
        self.loss: list[PlanStep] = []
        self.backward: list[PlanStep] = []
        self.gradients: list[PlanStep] = []
        self.updates: list[PlanStep] = []
        self.applied: list[PlanStep] = []
        self.touched: dict[str, Place] = {}
        self.loss_nodes: list[PlanNode] = []
        self.unreached: list[str] = []
        self.reached: frozenset[str] = frozenset()
        self._slopes: dict[Tensor, Buffer] = {}     # derivatives of activations that forward keeps, by their outputs
        self._nodes: dict[Tensor, PlanNode] = {}
        self._python: dict[Tensor, PythonNode] = {}
        self._stages = 0
        self._index = graph.places
        self._sizes = dict(purpose.trained) if purpose.trained is not None else {
            name: prod(p.shape) for name, p in graph.parameters.items() if p.trainable}
        self._uses = self._find_uses()
        self._wants_grad = self._find_wanted()
        self._of_parameters = self._count_uses()
        self._folded = self._find_folded()
        self._activated = self._find_activated()
        self._made_by = {out: t for t, out in self._activated.items()}
        self._lower_forward()
        self._lower_losses()
        if purpose.backward:
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
        """Whether the gradient of a tensor is needed: something trained, or a wanted input, lies before it.

        And whether it has one: an output depends on it in a way that has a derivative.
        """
        reached = set(self.graph.outputs)
        for t in reversed(self.graph.tensors):
            if t.node is not None and t in reached:
                reached.update(s for i, s in enumerate(t.node.inputs)
                               if s.dtype == "real" and t.node.op.has_gradient(i))
        wanted: dict[Tensor, bool] = {}
        for t in self.graph.tensors:
            if t.node is None:
                needed = self.purpose.input_grads
            else:
                needed = any(wanted[s] for s in t.node.inputs) or bool(self._trained(t))
            wanted[t] = needed and t in reached
        return wanted

    def _count_uses(self) -> dict[str, int]:
        """How many nodes make a gradient of each parameter that is trained, or belongs to one that is."""
        uses: dict[str, int] = {}
        for t in self.graph.tensors:
            for name in self._trained(t).values() if t.node is not None and self._wants_grad[t] else ():
                uses[name] = uses.get(name, 0) + 1
        return uses

    def _table(self, node: Node) -> str | None:
        """Return the name of a node's table, where the node alone knows which rows of it have a gradient."""
        if self.purpose.shared:
            return None
        known = dict(self.purpose.tables)
        names = [self.graph.parameter_name(node.params[role]) for role in node.op.row_roles]
        return next((n for n in names if n in known and self._of_parameters.get(n) == 1), None)

    def _find_folded(self) -> dict[Tensor, Tensor]:
        """From what an op makes to what normalisation by running statistics makes of it, where the op does that too."""
        folded: dict[Tensor, Tensor] = {}
        for t in self.graph.tensors:
            if t.node is not None and self._is_affine(t.node):
                source = t.node.inputs[0]
                if source.node is not None and source.node.op.takes_affine and self._uses[source].count == 1:
                    folded[source] = t
        return folded

    def _is_affine(self, node: Node) -> bool:
        return node.op.affine_outside_training and not self.purpose.training and not self._calls_back(node)

    def _find_activated(self) -> dict[Tensor, Tensor]:
        """From what an op makes to what its activation makes of it, where the op applies it itself."""
        activated: dict[Tensor, Tensor] = {}
        normalised = {out: t for t, out in self._folded.items()}
        for t in self.graph.tensors:
            if t.node is not None and t.node.op.derivative_from:
                source = t.node.inputs[0]
                made = normalised.get(source, source)
                if (made.node is not None and made.node.op.takes_activation and not self._calls_back(made.node)
                        and self._uses[source].count == 1):
                    activated[made] = t
        return activated

    # ---- forward --------------------------------------------------------------------------------------------------

    def _lower_forward(self) -> None:
        done = {*self._made_by, *self._folded.values()}
        made = [(t, t.node) for t in self.graph.tensors if t.node is not None and t not in done]
        # what is made of nothing comes first: it would cut the way of the rows in two
        for t, node in made:
            if not node.inputs:
                self._node_forward(t, node)
        for t in self.graph.inputs:
            self.values[t] = Buffer.for_tensor(t)
            # where sparse rows begin and end is among their entries, of which a plan is told when it is fed
            among = range(1) if t.dtype == "sparse" else self.graph.among.get(t)
            self.forward.append(self._feed(self.values[t], among))
        for t, node in made:
            if node.inputs:
                self._node_forward(t, node)

    def _node_forward(self, t: Tensor, of: Node) -> None:
        if of.op.is_view:
            self.values[t] = self.values[of.inputs[0]]
            return
        folded = self._folded.get(t)
        out = self._activated.get(t, t if folded is None else folded)
        self.values[out] = Buffer.for_tensor(out)
        node = self._nodes[t] = self._node(t, of)
        node.y = self.values[out]
        if folded is not None and folded.node is not None:
            node.affine = self._affine(folded.node, node)
        self._keep_slope(node, out)
        if out in self._made_by:
            node.act = self._activation(out)
        if self._calls_back(of):
            looks_around = function_of(of.op) is None and not of.op.adds_up
            self._python[t] = PythonNode(t, node.id, node.x, self.values[t], self._names_of(of), self._compute_dtype,
                                         looks_around)
            node.call = self._python[t].forward
            self._unit_step(self.forward, node, "call")
        if self._is_affine(of):
            self._unit_step(self.constants, node, "forward_reduce", "constants")
        else:
            self._unit_step(self.forward, node, "forward_reduce")
        self._row_step(self.forward, node, "forward")
        if of.op.spends_saves and not self._calls_back(of):
            self._row_step(self.again, node, "forward")

    def _affine(self, of: Node, before: PlanNode) -> Buffer:
        """Where what normalisation multiplies and adds is, of an op before it which leaves its bias out."""
        native = of.op.native(*(s.shape for s in of.inputs))
        features = of.inputs[0].shape[-1]
        to = Buffer(fixed=2 * features)
        bias = before.p[1] if len(before.p) > 1 else None
        node = PlanNode(of.op.name, {"prepare": native.work["prepare"]}, dims=native.dims, attrs=native.attrs,
                        p=[*(self._array("params", of.params[r]) for r in native.params), bias],
                        buffers=[self._array("buffers", of.buffers[r]) for r in native.buffers], prepared=to)
        self._unit_step(self.constants, node, "prepare", "constants")
        return to

    def _calls_back(self, node: Node) -> bool:
        """Whether a node is done in NumPy: one that mixes rows is, where ranks share them."""
        mixes = self.purpose.shared and node.op.mixes_rows
        return node.op.calls_back or (mixes and not (self.purpose.apart and node.op.adds_up))

    def _feed(self, to: Buffer, among: Among | None = None) -> PlanStep:
        """Return a step that copies rows from outside to a buffer; integers have to be in a range, if there is one."""
        work = {"feed": Work(cost=0.1 * to.per_row)}
        columns = among if isinstance(among, tuple) else ()
        one = (among.stop, among.start) if isinstance(among, range) else (0, 0)
        dims = (0, *one, len(columns))      # 0: the bytes of a row to come
        pairs = tuple(limit for r in columns for limit in (r.stop, r.start))
        self.feeds.append(PlanNode("feed", work, dims=dims, integers=pairs, y=to))
        return PlanStep(self.feeds[-1], "feed")

    def _names_of(self, node: Node) -> dict[str, dict[str, str]]:
        """Return the full names of a node's parameters and buffers, by role."""
        return {kind: {r: self.graph.parameter_name(p) for r, p in getattr(node, kind).items()}
                for kind in ("params", "buffers")}

    def _node(self, t: Tensor, node: Node) -> PlanNode:
        x = [self.values[s] for s in node.inputs]
        if self._calls_back(node):
            return PlanNode(node.op.name, {"call": Work()}, x=x, id=self.graph.draws_at(t))
        table = self._table(node)
        op = node.op if table is None else node.op.by_touched_rows()
        native = op.native(*(s.shape for s in node.inputs))
        bf16 = op.rounds(self._compute_dtype)
        saves = [Buffer.of(s) if self.purpose.backward or not s.backward_only else None for s in native.saves]
        made = PlanNode(
            op.name, self._work(op.name, native, elements(t.shape), _BF16_COST if bf16 else 1.0),
            dims=native.dims, attrs=native.attrs, constants=native.constants, integers=native.integers, bf16=bf16, x=x,
            p=[self._array("params", node.params.get(r)) for r in native.params],
            buffers=[self._array("buffers", node.buffers.get(r)) for r in native.buffers],
            saves=saves, scratch=native.scratch, id=self.graph.draws_at(t),
            entries_of=next((self.graph.inputs.index(s) for s in node.inputs if s.dtype == "sparse"), -1))
        if table is not None and native.touched is not None and self.purpose.backward:
            self.touched[table] = saves[native.touched]
        return made

    def _work(self, op: str, native: Native, elements: int, factor: float = 1.0) -> Mapping[str, Work]:
        """Return what the phases of an op have to do, also those of which it says nothing."""
        found: dict[str, Work] = {}
        for phase in self._phases(op):
            unsaid = Work(cost=elements) if phase in ("forward", "backward") else Work(cost=0, per_row=0.5)
            work = native.work.get(phase, unsaid)
            found[phase] = replace(work, cost=factor * work.cost, per_row=factor * work.per_row)
        return found

    def _array(self, vector: str, parameter: Parameter | None) -> NetworkArray | None:
        return None if parameter is None else NetworkArray(vector, self.graph.parameter_name(parameter))

    def _activation(self, t: Tensor) -> TakenActivation:
        """Return the activation that makes a tensor, for another op to take in."""
        assert t.node is not None
        attrs = t.node.op.native(t.shape).attrs
        return TakenActivation(t.node.op.name, attrs[0] if attrs else 0.0, self._slopes.get(t, self.values.get(t)))

    def _keep_slope(self, node: PlanNode, t: Tensor) -> None:
        """Let a node that applies the activation that makes ``t`` keep its derivative, unless that is made of ``t``."""
        assert t.node is not None
        if t.node.op.derivative_from == "input" and self.purpose.backward and self._wants_grad[t]:
            node.slope = self._slopes[t] = Buffer(prod(t.shape))

    # ---- losses ---------------------------------------------------------------------------------------------------

    def _lower_losses(self) -> None:
        if not self.purpose.losses:
            return
        weight = Buffer(self.purpose.weights) if self.purpose.weights else None
        for t, spec in zip(self.graph.outputs, self.purpose.losses, strict=True):
            target = Buffer(prod(spec.target_shape), kind=spec.target_kind)
            self.first.append(self._feed(target, spec.labels))
            groups, width = spec.native.dims
            sharing = groups // max(self.purpose.weights, 1)
            node = PlanNode(spec.op, {"call": Work()}, dims=(groups, width, sharing), attrs=spec.native.attrs,
                            constants=spec.native.constants, x=[self.values[t]], id=self._index[t],
                            loss=LossPart(target, weight, Buffer(groups), Buffer(groups, kind="float64")))
            node.loss.scale = spec.scale
            if spec.counts_right:
                node.loss.row_right = Buffer(groups, kind="float64")
            if self.purpose.backward and self._wants_grad[t]:
                self.grads[t] = Buffer.for_tensor(t)
                node.dx = [self.grads[t]]
            if spec.loss is not None:
                node.call = PythonLoss(spec, node, t).forward
            else:
                node.work = self._work(spec.op, spec.native, prod(t.shape))
            self.loss_nodes.append(node)
        if weight is not None:
            self.first.append(self._feed(weight))
        for node in self.loss_nodes:
            if node.call is not None:
                self._unit_step(self.loss, node, "call")
                continue
            self._unit_step(self.first, node, "forward_reduce", "weights")
            self._row_step(self.loss, node, "forward")

    # ---- backward -------------------------------------------------------------------------------------------------

    def _lower_backward(self) -> None:
        written = {t: self._uses[t].outputs for t in self.graph.tensors}
        for t in self.graph.outputs:
            if self._wants_grad[t] and t not in self.grads:
                self.grads[t] = Buffer.for_tensor(t)
        for t in reversed(self.graph.tensors):
            if t.node is None or not self._wants_grad[t]:
                continue
            if t in self._made_by:
                self._activation_backward(t, self._made_by[t])
            elif t.node.op.is_view:
                self._view_backward(t, t.node.inputs[0], written)
            else:
                self._node_backward(t, t.node, self._nodes[t], written)

    def _goes_through(self, out: Tensor) -> bool:
        """Whether the backward pass of the only op that uses ``out`` goes on through ``out``'s activation."""
        use = self._uses[out]
        if use.count != 1 or use.outputs:
            return False
        consumer, place = use.consumers[0]
        return (consumer.node is not None and consumer.node.op.takes_gate and not self._calls_back(consumer.node)
                and place == 0)

    def _activation_backward(self, out: Tensor, before: Tensor) -> None:
        """Go back through an activation that the op before it applied."""
        if self._goes_through(out):
            return          # the consumer has written the gradient of the activation's input already
        assert out.node is not None
        native = out.node.op.native(out.shape)
        self.grads[before] = Buffer(prod(before.shape))
        node = PlanNode(out.node.op.name, self._work(out.node.op.name, native, prod(out.shape)), dims=native.dims,
                        attrs=native.attrs, dy=self.grads[out], dx=[self.grads[before]], gate=self._activation(out))
        self._row_step(self.backward, node, "backward")

    def _view_backward(self, t: Tensor, source: Tensor, written: dict[Tensor, int]) -> None:
        if not self._wants_grad[source]:
            return
        written[source] += 1
        size = prod(t.shape)
        if self._uses[source].count == 1:
            self.grads[source] = self.grads[t]
        elif written[source] == 1:
            self.grads[source] = Buffer(size)
            copy = PlanNode("add", {"backward": Work(cost=_COPY_COST * size)}, dims=(size,), dy=self.grads[t],
                            dx=[self.grads[source]])
            self._row_step(self.backward, copy, "backward")
        else:
            self._accumulate(source, self.grads[t])

    def _node_backward(self, t: Tensor, node: Node, made: PlanNode, written: dict[Tensor, int]) -> None:
        made.dy = self.grads[t]
        late: list[tuple[Tensor, Buffer]] = []
        dx: list[Place] = []
        for i, source in enumerate(node.inputs):
            if not self._wants_grad[source] or not node.op.has_gradient(i):
                dx.append(None)
                continue
            written[source] += 1
            if node.op.passes_gradient and self._uses[source].count == 1:
                self.grads[source] = self.grads[t]          # nothing is written there any more: it may have two names
                dx.append(made.dy)
            elif written[source] == 1:
                dx.append(self._gradient_target(node, made, i))
            elif t in self._python or node.op.adds_gradients:
                dx.append(self.grads[source])
                made.adds = (*made.adds, i)
            else:
                late.append((source, Buffer.for_tensor(source)))
                dx.append(late[-1][1])
        made.dx = dx
        if node.op.derivative_from:
            made.gate = self._activation(t)
        if t in self._python:
            called = self._python[t]
            called.dx, called.dy = dx, made.dy
            called.added = [i in made.adds for i in range(len(node.inputs))]
            step = PlanNode(node.op.name, {"call": Work()}, x=made.x, dx=dx, dy=made.dy, call=called.backward)
            self._unit_step(self.backward, step, "call")
        else:
            made.prepared = self._prepared(node, made)
        self._unit_step(self.backward, made, "backward_reduce")
        self._row_step(self.backward, made, "backward")
        for source, buffer in late:
            self._accumulate(source, buffer)

    def _gradient_target(self, node: Node, made: PlanNode, i: int) -> Buffer:
        """Where a node writes the first gradient of an input: past that input's activation, where it can."""
        source = node.inputs[i]
        to = source
        if source in self._made_by and self._goes_through(source):
            to = self._made_by[source]
            made.gate = self._activation(source)
        self.grads[to] = Buffer.for_tensor(to)
        return self.grads[to]

    def _prepared(self, node: Node, made: PlanNode) -> Place:
        """Where what a node makes of its parameters is, where it keeps that; uses of one parameter share it."""
        native = node.op.native(*(s.shape for s in node.inputs))
        wanted = native.prepared_always or any(place is not None for place in made.dx)
        if not native.prepared or not wanted or made.bf16:      # products in bfloat16 make copies of their own
            return None
        for step in self.prepare:
            if (step.node.op, step.node.p) == (made.op, made.p):
                return step.node.prepared
        self.prepare.append(PlanStep(made, "prepare", "prepare"))
        return Buffer(fixed=native.prepared)

    def _accumulate(self, t: Tensor, more: Buffer) -> None:
        size = elements(t.shape)
        pairs = size >= TIMES_ROWS      # then how many there are is known when a plan runs, and they are one unit
        work = Work(cost=0, per_row=1.0) if pairs else Work(cost=size) if t.rows else Work(cost=0.5, units=size)
        node = PlanNode("accumulate", {"accumulate_rows" if t.rows else "accumulate_units": work}, dims=(size,),
                        x=[self.grads[t], more])
        self._row_step(self.backward, node, "accumulate_rows")
        self._unit_step(self.backward, node, "accumulate_units")

    # ---- parameters -----------------------------------------------------------------------------------------------

    def _lower_parameters(self) -> None:
        """Gradients of the parameters, their sums over several uses, and the updates."""
        uses = self._of_parameters
        reached = {t: node for t, node in self._nodes.items() if self._wants_grad[t]}
        updated: set[str] = set()
        seen: dict[str, int] = {}
        sums: list[PlanStep] = []
        for t, node in reached.items():
            assert t.node is not None
            trained = self._trained(t)
            dp = {role: self._parameter_gradient(name, seen, sums) for role, name in trained.items()}
            if t in self._python:
                self._python[t].dp = dp
            else:
                native = t.node.op.native(*(s.shape for s in t.node.inputs))
                node.dp = [dp.get(role) for role in native.params]
            if not trained:
                continue
            if self.purpose.updates and t.node.op.updates and all(uses[n] == 1 and n in self._sizes
                                                                  for n in trained.values()):
                node.updates = True
                updated.update(trained.values())
            self._unit_step(self.gradients, node, "gradient", "gradients")
        self.gradients += sorted(sums, key=lambda s: s.stage)
        self.unreached = [name for name in self._sizes if name not in uses]
        self.reached = frozenset(uses)
        self.beside = [name for name in uses if name not in self._sizes]
        for name, size in self._sizes.items():
            if name not in updated:
                self._update(name, size)

    def _update(self, name: str, size: int) -> None:
        """Update a parameter whose gradient is there."""
        row = dict(self.purpose.tables).get(name)
        p, dp = [NetworkArray("params", name)], [NetworkArray("grads", name)]
        if row is None:
            node = PlanNode("update", {"update": Work(cost=0.5, units=size)}, p=p, dp=dp)
            self.updates.append(PlanStep(node, "update", "update"))
            self.applied.append(self.updates[-1])
            return
        work = {"update_rows": Work(cost=0.1 * size / ROW_UNITS, units=ROW_UNITS)}
        for steps, touched in ((self.updates, self.touched.get(name)), (self.applied, None)):
            node = PlanNode("update_rows", work, dims=(row, size // row), saves=[touched], p=p, dp=dp)
            steps.append(PlanStep(node, "update_rows", "update"))

    def _parameter_gradient(self, name: str, seen: dict[str, int], sums: list[PlanStep]) -> Place:
        """Where a node writes the gradient of a parameter; that of a second use is added to the first."""
        whole = NetworkArray("grads", name)
        seen[name] = seen.get(name, 0) + 1
        if seen[name] == 1:
            return whole
        size = prod(self.graph.parameters[name].shape)
        part = Buffer(fixed=size)
        node = PlanNode("accumulate", {"accumulate_units": Work(cost=0.5, units=size)}, dims=(size,), x=[whole, part])
        sums.append(PlanStep(node, "accumulate_units", f"sum {seen[name]}"))
        return part

    def _trained(self, t: Tensor) -> dict[str, str]:
        """Return the names of the parameters whose gradients a node makes, by role: all where one is wanted."""
        assert t.node is not None
        names = {r: self.graph.parameter_name(p) for r, p in t.node.params.items()}
        return names if any(name in self._sizes for name in names.values()) else {}

    @property
    def calls_back(self) -> bool:
        """Whether a node is written in Python."""
        return bool(self._python) or any(n.call is not None for n in self.loss_nodes)

    def refresh(self) -> list[PlanStep]:
        """Return the prepare steps that updates leave to be done: nodes that update do their own."""
        return [s for s in self.prepare if not s.node.updates and any(place is not None for place in s.node.dp)]

    # ---- steps ----------------------------------------------------------------------------------------------------

    def _row_step(self, steps: list[PlanStep], node: PlanNode, phase: str) -> None:
        if phase in node.work:
            steps.append(PlanStep(node, phase))

    def _unit_step(self, steps: list[PlanStep], node: PlanNode, phase: str, stage: str | None = None) -> None:
        if phase in node.work:
            self._stages += stage is None
            steps.append(PlanStep(node, phase, stage or f"alone {self._stages}"))
