"""The graph says of every assembly what its enumerated law says."""

import itertools
import subprocess
import sys
from typing import ClassVar

import networkx as nx
import numpy as np
import pytest
import torch

import probseq as ps
from probseq import graph, testing
from probseq.graph.separation import separated
from probseq.oracles import NGram, Table
from probseq.part import Part
from tests.parts import model as made
from tests.test_docs import blocks

RECURRENCES = {
    "LSTM": ps.LSTM(3),
    "deep GRU": ps.GRU(3, layers=2),
    "Unrolled Elman": ps.Unrolled(ps.Elman(3)),
    "Leaky": ps.Leaky(3),
    "deep LRU": ps.LRU(3, layers=2),
    "Memoryless": ps.Memoryless(3),
    "CausalConv": ps.CausalConv(3, window=2),
    "Stack": ps.Stack((ps.CausalConv(3, window=2), ps.Memoryless(3))),
    "Stack with skips": ps.Stack((ps.Memoryless(2), ps.GRU(2)), skip=True),
    "Positional": ps.Positional(ps.Memoryless(3), 3, dim=2),
    "Lagged": ps.Lagged(ps.Memoryless(3), (1, 3), dim=2),
}
STOPS = {
    "EndSymbol": ps.EndSymbol(),
    "BernoulliStop": ps.BernoulliStop(),
    "LengthStop": ps.LengthStop(4),
    "FixedLength": ps.FixedLength(4),
    "PlannedLength": ps.PlannedLength(3, dim=2),
    "longer PlannedLength": ps.PlannedLength(4, dim=2),
    "PlannedLength not fed": ps.PlannedLength(3, remaining=False),
}
CONTEXTS = {
    "input": ps.Vector(2, enters="input"),
    "state": ps.Vector(2, enters="state"),
    "both": ps.Labels(2, dim=2),
    "source": ps.Source(ps.Reals(1), ps.Bidirectional(ps.GRU(2)), enters="input"),
    "source by state": ps.Source(ps.Reals(1), ps.Unidirectional(ps.GRU(2)), enters="state"),
    "aligned": ps.Aligned(ps.Reals(1)),
    "unidirectional": ps.Aligned(ps.Reals(1), ps.Unidirectional(ps.CausalConv(2, window=2))),
    "bidirectional": ps.Aligned(ps.Reals(1), ps.Bidirectional(ps.GRU(2))),
    "two": (ps.Labels(2, dim=2, enters="state"), ps.Aligned(ps.Reals(1))),
}


def assembly(recurrence, stop, context, feedback):
    """The parts, or None where they do not go together."""
    element = ps.Tokens(2, dim=2, feedback=feedback)
    law = STOPS.get(stop, ps.AlignedLength())
    if stop == "FixedLength" and context in ("aligned", "unidirectional", "bidirectional", "two"):
        # As long as the x that it stands beside.
        law = ps.FixedLength(3)
    parts = (element, RECURRENCES[recurrence], ps.Categorical(), law, CONTEXTS.get(context))
    try:
        ps.SequenceModel(*parts)
    except ValueError:
        return None
    return parts


def assemblies():
    """Every recurrence with every stop law, and every context with every kind of end, fed back and not."""
    chosen = [(r, s, "none", True) for r in RECURRENCES for s in STOPS]
    turns = itertools.cycle(RECURRENCES)
    ends = ("EndSymbol", "LengthStop", "PlannedLength", "FixedLength", "AlignedLength")
    for i, (c, s) in enumerate(itertools.product(CONTEXTS, ends)):
        parts = [(r, s, c, i % 2 == 0) for r in itertools.islice(turns, len(RECURRENCES) + 1)]
        chosen += [next((each for each in parts if assembly(*each)), parts[0])]
    for r, s, c, feedback in chosen:
        yield f"{r}, {s}, {c}{'' if feedback else ', no feedback'}", assembly(r, s, c, feedback)


GRIDS = {
    "Grid": (ps.Tokens(2, dim=2), ps.Grid(2, 3, 3, window=0), ps.Categorical(), ps.FixedLength(5)),
    "Grid with a window": (ps.Tokens(2, dim=2), ps.Grid(3, 2, 2, window=1), ps.Categorical(), ps.FixedLength(5)),
    "Grid, state": (
        ps.Tokens(2, dim=2), ps.Grid(2, 2, 3, window=1), ps.Categorical(), ps.FixedLength(4), CONTEXTS["state"],
    ),
    **{
        f"GridEncoder of {n}{'' if feedback else ', no feedback'}": (
            ps.Tokens(2, dim=2, feedback=feedback), ps.Memoryless(3), ps.Categorical(), ps.AlignedLength(),
            ps.Aligned(ps.Reals(1), ps.GridEncoder(2, 2, 2, directions=n)),
        )
        for n in (1, 4) for feedback in (True, False)
    },
}  # fmt: skip
ATTENDED = {
    f"Attentive {name}": (ps.Tokens(2, dim=2), recurrence, ps.Categorical(), stop, context)
    for name, recurrence, stop, context in (
        ("LSTM", ps.Attentive(ps.LSTM(2)), ps.EndSymbol(), ps.Source(ps.Reals(1), ps.Bidirectional(ps.GRU(2)))),
        (
            "Memoryless",
            ps.Attentive(ps.Memoryless(3)),
            ps.FixedLength(3),
            ps.Source(ps.Reals(1), ps.Unidirectional(ps.CausalConv(2, window=2)), enters=None),
        ),
        (
            "Memoryless, fed",
            ps.Attentive(ps.Memoryless(3), feed=True),
            ps.BernoulliStop(),
            ps.Source(ps.Reals(1), ps.Deep((ps.Bidirectional(ps.GRU(2)), ps.Unidirectional(ps.GRU(2)))), enters=None),
        ),
        (
            "in a Stack",
            ps.Stack((ps.Memoryless(2), ps.Attentive(ps.Memoryless(2))), skip=True),
            ps.FixedLength(3),
            (ps.Labels(2, dim=2, enters="input"), ps.Source(ps.Reals(1), ps.Bidirectional(ps.GRU(2)), enters=None)),
        ),
    )
}
ASSEMBLIES = {name: parts for name, parts in assemblies() if parts} | GRIDS | ATTENDED


def choices(context, steps, seed=0):
    """Two values for each node of x: a list of the values, and how x is put together from one of each."""
    generator = torch.Generator().manual_seed(seed)
    if context is None:
        return 0, lambda picks: None
    if isinstance(context, tuple):
        inner = [choices(member, steps, seed + i) for i, member in enumerate(context)]
        cuts = np.cumsum([0] + [count for count, _ in inner])
        return cuts[-1], lambda picks: tuple(
            put(picks[a:b]) for (_, put), (a, b) in zip(inner, itertools.pairwise(cuts), strict=True)
        )
    if isinstance(context, ps.Labels):
        return 1, lambda picks: torch.tensor([picks[0]])
    if isinstance(context, ps.Vector):
        values = 2 * torch.randn(2, 1, context.dim, generator=generator, dtype=torch.float64)
        return 1, lambda picks: values[picks[0]]
    values = 2 * torch.randn(2, steps, 1, generator=generator, dtype=torch.float64)
    return steps, lambda picks: values[list(picks), torch.arange(steps)].unsqueeze(0)


def law_of(model, steps, x):
    """P over (tau, stop_1 … stop_T, y_1 … y_T) given x; tau and stop only where the graph has them."""
    planned, uncertain = model.stop.plans, not model.stop.certain
    lengths = range(model.stop.max_length + 1) if planned else [None]
    joint = np.zeros((len(lengths), *[2] * steps, *[3] * steps))
    for i, tau in enumerate(lengths):
        context = model.plan([tau], x) if planned else x
        weight = float(model.stop.log_pmf(context)[0, tau].detach().exp()) if planned else 1.0
        law = ps.exact(model, steps, context)
        for sequence, p in zip(law.sequences, law.log_prob.exp().tolist(), strict=True):
            n = len(sequence)
            stops = [int(t > n) for t in range(1, steps + 1)]
            joint[(i, *stops, *sequence.tolist(), *[2] * (steps - n))] += weight * p
    joint = joint if uncertain else joint.sum(tuple(range(1, steps + 1)))
    return joint if planned else joint[0]


def joint_of(model, context, steps):
    """The joint law of all that is random, x being drawn uniformly from two values for each of its nodes."""
    count, put = choices(context, steps)
    laws = [law_of(model, steps, put(picks)) for picks in itertools.product((0, 1), repeat=count)]
    return np.stack(laws).reshape([2] * count + list(laws[0].shape)) / len(laws)


def names_of(unfolded, steps):
    """The nodes that the axes of `joint_of` stand for."""
    kinds = ("context", "length", "stop", "element")
    return [node for kind in kinds for node in unfolded if unfolded.nodes[node]["kind"] == kind]


def dependence(joint, a, b, given):
    """The largest |P(a, b | c) − P(a | c) P(b | c)| over all values of the axes."""
    rest = tuple(i for i in range(joint.ndim) if i not in {a, b, *given})
    both = joint.sum(rest, keepdims=True)
    known = both.sum((a, b), keepdims=True)
    gap = both * known - both.sum(a, keepdims=True) * both.sum(b, keepdims=True)
    return float(np.max(np.abs(gap) / np.where(known > 0, known, 1) ** 2))


def queries(count, inputs):
    """Pairs of axes, with what is given: up to two others (one, where x is random), or these and all of x."""
    for a, b in itertools.combinations(range(count), 2):
        others = [i for i in range(count) if i not in (a, b)]
        for size in range(2 if inputs else 3):
            yield from ((a, b, given) for given in itertools.combinations(others, size))
        if a >= inputs > 0:
            for size in range(3):
                yield from ((a, b, (*range(inputs), *more)) for more in itertools.combinations(others[inputs:], size))


@pytest.mark.parametrize("parts", ASSEMBLIES.values(), ids=ASSEMBLIES)
def test_separated_nodes_are_independent_and_others_are_not(parts):
    context = parts[4] if len(parts) > 4 else None
    # A grid is seen whole.
    steps = (parts[3].max_length or 4) if parts in GRIDS.values() else 4 if parts[3].certain and not context else 3
    model = made(*parts)
    unfolded, joint = graph.unfold(model, steps), joint_of(model, context, steps)
    names = names_of(unfolded, steps)
    inputs = sum(unfolded.nodes[name]["kind"] == "context" for name in names)
    weak = set()
    for a, b, given in queries(len(names), inputs):
        found = dependence(joint, a, b, given)
        if separated(unfolded, {names[a]}, {names[b]}, {names[i] for i in given}):
            assert found < 1e-9, (names[a], names[b], [names[i] for i in given], found)
        elif found < 1e-9:
            weak.add((a, b, given))
    # One model may come near to an independence that its structure does not ask for; another does not.
    joint = joint_of(made(*parts, seed=1), context, steps) if weak else joint
    for a, b, given in weak:
        assert dependence(joint, a, b, given) > 1e-9, (names[a], names[b], [names[i] for i in given])


def edges_among_elements(*parts, steps=5):
    """The edges s → t among y_1 … y_steps in the marginal graph."""
    found = graph.marginal(ps.SequenceModel(*parts), steps).edges
    return {(int(a[2:]), int(b[2:])) for a, b in found if a[0] == b[0] == "y"}


def within(window, steps=5):
    return {(s, t) for t in range(1, steps + 1) for s in range(max(1, t - window), t)}


@pytest.mark.parametrize("name", ["LSTM", "deep GRU", "Unrolled Elman", "Leaky", "Stack with skips"])
def test_a_state_makes_the_graph_over_the_elements_complete(name):
    parts = (ps.Tokens(2), RECURRENCES[name], ps.Categorical(), ps.EndSymbol())
    assert edges_among_elements(*parts) == within(4)


def test_without_a_state_the_elements_are_a_markov_chain():
    assert edges_among_elements(ps.Tokens(2), ps.Memoryless(3), ps.Categorical(), ps.FixedLength(9)) == within(1)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_makes_a_markov_model_of_its_order(window):
    parts = (ps.Tokens(2), ps.CausalConv(3, window=window), ps.Categorical(), ps.EndSymbol())
    assert edges_among_elements(*parts) == within(window)


def test_windows_on_windows_add_up():
    stack = ps.Stack((ps.CausalConv(3, window=2), ps.CausalConv(3, window=2)))
    assert edges_among_elements(ps.Tokens(2), stack, ps.Categorical(), ps.EndSymbol()) == within(3)


def test_without_feedback_no_element_depends_on_another():
    parts = (ps.LSTM(3), ps.Categorical(), ps.AlignedLength(), ps.Aligned(ps.Reals(1), ps.Bidirectional(ps.GRU(2))))
    assert edges_among_elements(ps.Tokens(2, feedback=False), *parts) == set()
    assert edges_among_elements(ps.Tokens(2), *parts) == within(4)


def test_each_label_sees_x_as_far_as_its_encoder_does():
    sees = {None: {1, 2}, ps.Unidirectional(ps.GRU(2)): {1, 2}, ps.Bidirectional(ps.GRU(2)): {1, 2, 3}}
    for encoder, expected in sees.items():
        parts = (ps.Tokens(2, feedback=False), ps.LSTM(3), ps.Categorical(), ps.AlignedLength())
        found = graph.marginal(ps.SequenceModel(*parts, ps.Aligned(ps.Reals(1), encoder)), 3).predecessors("y_2")
        assert set(found) == {f"x_{t}" for t in expected}


def test_x_enters_the_first_features_the_input_of_each_step_or_both():
    entered = {"state": {"h_1"}, "input": {"h_1", "h_2", "h_3"}, "both": {"h_1", "h_2", "h_3"}}
    for enters, expected in entered.items():
        parts = (ps.Tokens(2), ps.LSTM(3), ps.Categorical(), ps.EndSymbol(), ps.Vector(2, enters=enters))
        assert set(graph.unfold(ps.SequenceModel(*parts), 3)["x"]) == expected


def test_a_part_that_says_nothing_is_taken_to_do_all_it_can():
    class Mine(ps.Elman):
        """A recurrence of one's own."""

        links = property()

    recurrence = Mine(3)
    assert not hasattr(recurrence, "links")
    model = ps.SequenceModel(ps.Tokens(2), recurrence, ps.Categorical(), ps.EndSymbol())
    assert nx.utils.graphs_equal(
        graph.unfold(model, 4),
        graph.unfold(ps.SequenceModel(ps.Tokens(2), ps.Elman(3), ps.Categorical(), ps.EndSymbol()), 4),
    )


def test_every_node_says_what_it_is():
    parts = (ps.Tokens(2), ps.LSTM(3, layers=2), ps.Categorical(), ps.PlannedLength(3))
    nodes = graph.unfold(ps.SequenceModel(*parts), 2).nodes
    assert nodes["h^2_1"] == {
        "kind": "hidden", "row": "h^2", "time": 1, "label": "$h^{(2)}_{1}$", "deterministic": True,
    }  # fmt: skip
    assert {name for name in nodes if not nodes[name]["deterministic"]} == {"tau", "y_1", "y_2"}


def test_features_are_functions_of_what_they_are_computed_from():
    model = ps.SequenceModel(ps.Tokens(2), ps.LSTM(3), ps.Categorical(), ps.FixedLength(3))
    assert graph.independent(model, "h_2", "y_3", given="y_1")  # h_2 is a function of y_1
    assert not graph.independent(model, "h_2", "y_3")
    assert graph.independent(model, "y_1", {"y_2", "y_3"}, given={"h_2", "h_3"})
    assert not graph.independent(model, "y_1", {"y_2", "y_3"}, given="h_3")


def test_wrong_questions_are_refused():
    model = ps.SequenceModel(ps.Tokens(2), ps.LSTM(3), ps.Categorical(), ps.FixedLength(3))
    with pytest.raises(ValueError, match="no node 'z'; expected some of h_1, y_1"):
        graph.independent(model, "y_1", "z")
    with pytest.raises(ValueError, match="'y_1' stands in two of a, b and given"):
        graph.independent(model, "y_1", "y_2", given="y_1")
    with pytest.raises(ValueError, match="needs a node in a and one in b"):
        graph.independent(model, (), "y_2")
    with pytest.raises(ValueError, match="3 elements at most; got steps=4"):
        graph.independent(model, "y_1", "y_4")
    with pytest.raises(ValueError, match="steps must be 1 or more"):
        graph.unfold(model, 0)
    with pytest.raises(TypeError, match="got NGram"):
        graph.unfold(NGram(2, 3), 2)


@pytest.mark.parametrize("fixed", [True, False])
def test_parameters_are_counted_as_in_the_tables(fixed):
    stop = ps.FixedLength(4) if fixed else ps.EndSymbol()
    model = ps.SequenceModel(ps.Tokens(3, dim=2), ps.Elman(5), ps.Categorical(), stop)
    count = graph.count_parameters(model, 4)
    assert count.table == Table(symbols=3, length=4, fixed=fixed).parameters == count.markov[3]
    assert count.markov[0] == (2 if fixed else 3)
    assert count.network == sum(p.numel() for p in model.parameters())
    bits = ps.SequenceModel(ps.Bits(2), ps.Elman(5), ps.Bernoulli(), ps.FixedLength(3))
    assert graph.count_parameters(bits, 3).table == 4**3 - 1
    with pytest.raises(ValueError, match=r"finitely many values; got Reals\(dim=2\)"):
        graph.count_parameters(ps.SequenceModel(ps.Reals(2), ps.Elman(5), ps.Gaussian(), ps.FixedLength(3)), 3)


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_graph_is_drawn_with_all_its_nodes(tmp_path, folded, ending):
    model = ps.SequenceModel(ps.Tokens(2), ps.LSTM(3), ps.Categorical(), ps.EndSymbol(), ps.Vector(2, enters="state"))
    figure = graph.draw(model, 3, tmp_path / f"graph.{ending}", folded=folded)
    assert (tmp_path / f"graph.{ending}").stat().st_size > 1000
    unfolded = graph.unfold(model, 3)
    labels = {label.replace(f"_{{{time}}}", "") if folded else label for label, time in labels_of(unfolded)}
    assert labels <= {text.get_text() for text in figure.axes[0].texts}
    with pytest.raises(ValueError, match=r"saves \.png and \.svg; got 'graph.pdf'"):
        graph.draw(model, 3, tmp_path / "graph.pdf")


def labels_of(unfolded):
    return [(facts["label"], facts["time"]) for _, facts in unfolded.nodes(data=True)]


class Leaking(Part):
    """A recurrence whose features at t depend on later inputs."""

    kind: ClassVar[str] = "recurrence"
    features: ClassVar[int] = 4
    memory_shapes: ClassVar[tuple] = ()

    def choices(self):
        return {}

    def describe(self):
        return type(self).__name__


class BothWays(Leaking):
    """A bidirectional network in the dress of a recurrence."""

    def build(self, inputs):
        self.network = torch.nn.LSTM(inputs, 2, bidirectional=True, batch_first=True)

    def forward(self, inputs, memory):
        return self.network(inputs)[0], memory


class Centred(Leaking):
    """One that takes the mean over time off its inputs."""

    def build(self, inputs):
        self.network = torch.nn.Linear(inputs, 4)

    def forward(self, inputs, memory):
        return torch.tanh(self.network(inputs - inputs.mean(1, keepdim=True))), memory


class Shifted(Centred):
    """One that is off by one step."""

    def forward(self, inputs, memory):
        return torch.tanh(self.network(torch.cat([inputs[:, 1:], inputs[:, -1:]], 1))), memory


LEAKS = {"BothWays": (BothWays, 0, 1), "Centred": (Centred, 0, 1), "Shifted": (Shifted, 0, 1)}


@pytest.mark.parametrize(("part", "t", "s"), LEAKS.values(), ids=LEAKS)
def test_a_recurrence_that_sees_the_future_is_found_and_does_not_sample(part, t, s):
    with pytest.raises(AssertionError, match=f"the features at step {t} depend on the input at step {s}"):
        testing.check_no_leak(part())
    model = ps.SequenceModel(ps.Tokens(3), part(), ps.Categorical(), ps.FixedLength(4))
    for draw in (lambda: model.sample(2), lambda: ps.sample(model, 2), lambda: model().sample((2,))):
        with pytest.raises(ValueError, match="needs a causal recurrence"):
            draw()
    assert model.log_prob(ps.Sequences.of([[0, 1, 2, 0]])).shape == (1,)


@pytest.mark.parametrize("part", [*RECURRENCES.values(), ps.Grid(2, 3, 3), ps.Grid(3, 2, 3, parallel=False)], ids=repr)
def test_no_recurrence_of_ours_sees_the_future(part):
    testing.check_no_leak(part)


def test_the_graph_is_loaded_only_when_it_is_asked_for():
    said = "import sys, probseq; print('probseq.graph' in sys.modules, probseq.graph.unfold.__name__)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "unfold"]


def test_the_page_says_what_it_prints(capsys):
    names = {}
    for block in blocks("docs/graph.md"):
        exec(compile(block, "docs/graph.md", "exec"), names)
        said = [line.split("  # ")[1] for line in block.splitlines() if line.startswith("print")]
        assert capsys.readouterr().out.splitlines() == said
    testing.check_no_leak(names["Seasonal"](8))


def test_a_scan_from_one_corner_sees_the_rectangle_up_to_it():
    for directions, expected in {1: {1, 2, 4, 5}, 4: {1, 2, 3, 4, 5, 6}}.items():
        seen = ps.Aligned(ps.Reals(1), ps.GridEncoder(2, 3, 2, directions=directions))
        parts = (ps.Tokens(2, feedback=False), ps.Memoryless(3), ps.Categorical(), ps.AlignedLength(), seen)
        assert set(graph.marginal(ps.SequenceModel(*parts), 6).predecessors("y_5")) == {f"x_{t}" for t in expected}


@pytest.mark.parametrize("window", [0, 1])
def test_a_pixel_depends_on_all_before_it(window):
    parts = (ps.Tokens(2), ps.Grid(3, 3, 2, window=window), ps.Categorical(), ps.FixedLength(9))
    assert edges_among_elements(*parts, steps=9) == within(8, steps=9)
