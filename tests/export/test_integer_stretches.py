"""What becomes integer: the largest set that the two conditions allow, found by brute force."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_cl_export.quantise.integer_stretches import Operator, left_in_float

ROLES = ["layer", "float layer", "between", "between", "between", "float"]


def chain(*roles):
    """Operators one behind the other, named by their place."""
    return [Operator(str(k), role, (k,), (k + 1,)) for k, role in enumerate(roles)]


@st.composite
def graphs(draw):
    """Operators that read one or two tensors each, the picture (0) among them."""
    found = []
    for k in range(draw(st.integers(1, 9))):
        reads = draw(st.lists(st.integers(0, k), min_size=1, max_size=2, unique=True))
        found.append(Operator(str(k), draw(st.sampled_from(ROLES)), tuple(reads), (k + 1,)))
    return found


def largest(operators):
    """All sets of operators in between that hold together, put into one."""
    layers = {op.gives[0] for op in operators if op.role == "layer"}
    chosen = {op.gives[0] for op in operators if op.role == "float layer"}
    between = [op for op in operators if op.role == "between"]
    best = set()
    for n in range(len(between) + 1):
        for some in combinations(between, n):
            whole = layers | {op.gives[0] for op in some}
            reads = all(set(op.reads) <= whole | chosen for op in some)
            read = all(
                any(op.gives[0] in o.reads for o in operators if o.gives[0] in whole) for op in some
            )
            if reads and read:
                best |= whole
    return best or layers


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_as_much_is_integer_as_can_be(operators):
    expected = largest(operators)
    assert left_in_float(operators) == [op.name for op in operators if op.gives[0] not in expected]


def test_the_ends_are_float_and_so_is_a_projection_with_the_pooling_before_it():
    found = chain("between", "layer", "between", "layer", "activation", "between", "between")
    assert left_in_float(found) == ["0", "5", "6"]
    found = chain("between", "layer", "between", "layer", "between", "float layer", "between")
    assert left_in_float(found) == ["0", "4", "5", "6"]


def test_an_activation_belongs_to_its_layer():
    assert left_in_float(chain("layer", "activation", "float", "layer")) == ["2"]
    assert left_in_float(chain("layer", "float layer", "activation", "layer")) == ["1", "2"]


def test_a_sum_behind_a_layer_in_float_is_integer_all_the_same():
    shortcut = [
        Operator("a", "layer", ("x",), ("a",)),
        Operator("b", "float layer", ("a",), ("b",)),
        Operator("sum", "between", ("a", "b"), ("sum",)),
        Operator("c", "layer", ("sum",), ("c",)),
    ]
    assert left_in_float(shortcut) == ["b"]


def test_a_residual_stream_that_only_norms_read_is_float():
    stream = [Operator("in", "layer", ("x",), ("s0",))]
    for k in range(3):
        stream += [
            Operator(f"norm{k}", "float", (f"s{k}",), (f"n{k}",)),
            Operator(f"layer{k}", "layer", (f"n{k}",), (f"l{k}",)),
            Operator(f"sum{k}", "between", (f"s{k}", f"l{k}"), (f"s{k + 1}",)),
        ]
    stream.append(Operator("norm3", "float", ("s3",), ("n3",)))
    left = left_in_float(stream)
    assert left == [op.name for op in stream if op.name.startswith(("norm", "sum"))]
