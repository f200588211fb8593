"""Small networks as bytes: ONNX field by field, TFLite with the FlatBuffers library.

`onnx` is not installed where the runtime's tests run, and would not write most of what is
wrong here.
"""

import flatbuffers
import numpy as np

# -- Protobuf ------------------------------------------------------------------------------------


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """One field: a varint for an int, else text or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def fields(number, values):
    return b"".join(field(number, v) for v in values)


def node(kind, inputs=("x",), outputs=("y",), *, domain="", attributes=()):
    return (
        fields(1, inputs)
        + fields(2, outputs)
        + field(4, kind)
        + fields(5, attributes)
        + (field(7, domain) if domain else b"")
    )


def attribute(name, number, kind, value):
    """`number`: which field holds it, `kind`: its AttributeType."""
    return field(1, name) + field(number, value) + field(20, kind)


def tensor(array, name="", extra=b""):
    array = np.asarray(array)
    kind = {"float32": 1, "int64": 7}[array.dtype.name]
    return (
        fields(1, array.shape)
        + field(2, kind)
        + field(8, name)
        + (extra or field(9, array.tobytes()))
    )


EXTERNAL = {
    "location": field(14, 1),
    "entries": field(13, field(1, "location") + field(2, "../../etc/passwd")),
    "both": field(14, 1) + field(13, field(1, "location") + field(2, "weights")),
}


def external_tensor(how="both"):
    return tensor(np.zeros(3, np.float32), "w", EXTERNAL[how])


def sparse(values, indices):
    return field(1, values) + field(2, indices) + fields(3, [3])


def value_info(name, shape):
    dimensions = [field(2, "n")] + [field(1, n) for n in shape]
    kind = field(1, field(1, 1) + field(2, fields(1, dimensions)))
    return field(1, name) + field(2, kind)


def graph(nodes, *, initializers=(), sparse_initializers=(), d=3):
    return (
        fields(1, nodes)
        + field(2, "g")
        + fields(5, initializers)
        + fields(15, sparse_initializers)
        + field(11, value_info("x", [d]))
        + field(12, value_info("y", [d]))
    )


def function(name, domain, nodes, extra=b""):
    opset = field(9, field(1, "") + field(2, 17))
    return (
        field(1, name) + field(4, "x") + field(5, "y") + fields(7, nodes) + opset + extra
    ) + field(10, domain)


def onnx(a_graph, *, functions=(), domains=(), extra=b""):
    opsets = [field(1, domain) + field(2, 1) for domain in domains]
    return (
        field(1, 8)
        + fields(8, [field(1, "") + field(2, 17), *opsets])
        + field(7, a_graph)
        + fields(25, functions)
        + extra
    )


def times(matrix):
    """Return x -> x @ matrix, float32 (n, 3) to (n, 3)."""
    w = tensor(np.asarray(matrix, np.float32), "w")
    return onnx(graph([node("MatMul", ["x", "w"])], initializers=[w]))


IDENTITY = onnx(graph([node("Identity")]))


def huge(elements):
    """Return a network that asks for `elements` floats before it answers."""
    value = attribute("value", 5, 4, tensor(np.ones(1, np.float32)))
    return onnx(
        graph(
            [
                node("ConstantOfShape", ["size"], ["big"], attributes=[value]),
                node("ReduceSum", ["big"], ["sum"], attributes=[attribute("keepdims", 3, 2, 0)]),
                node("Add", ["x", "sum"]),
            ],
            initializers=[tensor(np.array([elements]), "size")],
        )
    )


def endless():
    """Return a network whose loop runs for longer than anybody waits."""
    truth = field(2, 9)  # BOOL
    body = (
        fields(
            1,
            [
                node("Identity", ["go"], ["go_on"]),
                node("Identity", ["in"], ["out"]),
            ],
        )
        + field(2, "body")
        + field(11, field(1, "i") + field(2, field(1, field(1, 7) + field(2, b""))))
        + field(11, field(1, "go") + field(2, field(1, field(1, 9) + field(2, b""))))
        + field(11, value_info("in", [3]))
        + field(12, field(1, "go_on") + field(2, field(1, field(1, 9) + field(2, b""))))
        + field(12, value_info("out", [3]))
    )
    yes = truth + field(8, "yes") + field(9, b"\1")
    loop = node("Loop", ["many", "yes", "x"], attributes=[attribute("body", 6, 5, body)])
    return onnx(
        graph([loop], initializers=[tensor(np.array(1 << 62), "many"), yes]),
    )


# -- FlatBuffers ---------------------------------------------------------------------------------


def vector(b, offsets):
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def numbers(b, values):
    b.StartVector(4, len(values), 4)
    for value in reversed(values):
        b.PrependInt32(value)
    return b.EndVector()


def table(b, slots, size):
    """A table; slots: place -> (kind, value), 'offset' for what was built before."""
    b.StartObject(size)
    for place, (kind, value) in slots.items():
        if kind == "offset":
            b.PrependUOffsetTRelativeSlot(place, value, 0)
        else:
            getattr(b, f"Prepend{kind}Slot")(place, value, 0)
    return b.EndObject()


def tflite(*, code=19, old_code=None, custom=None, codes=1, groups=0, buffers=0, offset=0, d=3):
    """A network of one operator, RELU unless told otherwise, and what may be wrong with it."""
    b = flatbuffers.Builder(1024)
    name = b.CreateString(custom) if custom is not None else None
    slots = {0: ("Int8", code if old_code is None else old_code), 3: ("Int32", code)}
    if name is not None:
        slots[1] = ("offset", name)
    codes = vector(b, [table(b, slots, 4)] * codes)
    tensors = []
    for text in ("x", "y"):
        told, shape = b.CreateString(text), numbers(b, [1, d])
        tensors.append(table(b, {0: ("offset", shape), 3: ("offset", told)}, 4))
    ins, outs = numbers(b, [0]), numbers(b, [1])
    operator = table(b, {1: ("offset", ins), 2: ("offset", outs)}, 5)
    operators, tensors = vector(b, [operator]), vector(b, tensors)
    sub = {0: tensors, 1: ins, 2: outs, 3: operators}
    subgraphs = vector(b, [table(b, {k: ("offset", v) for k, v in sub.items()}, 5)])
    buffer = vector(b, [table(b, {1: ("Uint64", offset), 2: ("Uint64", offset)}, 3)])
    model = {1: ("offset", codes), 2: ("offset", subgraphs), 4: ("offset", buffer)}
    for place, count in ((8, groups), (9, buffers)):
        if count:
            model[place] = ("offset", vector(b, [table(b, {}, 5) for _ in range(count)]))
    b.Finish(table(b, {0: ("Uint32", 3), **model}, 10), file_identifier=b"TFL3")
    return bytes(b.Output())
