// The two cases as ONNX models, written by hand: a graph of a few nodes is a page of protocol buffers.

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 127n);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 128 : low);
  } while (rest > 0n);
  return bytes;
}

const field = (number, type) => varint((number << 3) | type);
const whole = (number, value) => [...field(number, 0), ...varint(value)];
function bytes(number, content) {
  const list = typeof content === "string" ? [...new TextEncoder().encode(content)] : content;
  return [...field(number, 2), ...varint(list.length), ...list];
}

const FLOAT = 1;
const value = (name, dims) => {
  const shape = dims.flatMap((dim) => bytes(1, whole(1, dim)));
  return [...bytes(1, name), ...bytes(2, bytes(1, [...whole(1, FLOAT), ...bytes(2, shape)]))];
};
const tensor = (name, dims, data) => [
  ...dims.flatMap((dim) => whole(1, dim)),
  ...whole(2, FLOAT),
  ...bytes(8, name),
  ...bytes(9, [...new Uint8Array(Float32Array.from(data).buffer)]),
];
const ints = (name, values) => [...bytes(1, name), ...values.flatMap((v) => whole(8, v)), ...whole(20, 7)];
const node = (type, inputs, output, attributes = []) => [
  ...inputs.flatMap((input) => bytes(1, input)),
  ...bytes(2, output),
  ...bytes(4, type),
  ...attributes.flatMap((attribute) => bytes(5, attribute)),
];

/** A convolution with weights of this shape, and padding that keeps the size. */
const conv = (x, w, b, y, kernel) => {
  const pad = (kernel - 1) / 2;
  return node("Conv", b ? [x, w, b] : [x, w], y, [ints("kernel_shape", [kernel, kernel]), ints("pads", [pad, pad, pad, pad])]);
};

/** The model of a case: `block` or a single convolution. `weights` are [{ name, dims, data }]. */
export function model(block, xShape, weights) {
  const nodes = block
    ? [
        node("Elu", ["x"], "a"),
        conv("a", "w0", "b0", "b", 3),
        node("Elu", ["b"], "c"),
        conv("c", "w1", "b1", "d", 1),
        node("Elu", ["d"], "e"),
        conv("e", "w2", "b2", "f", 3),
        node("Add", ["x", "f"], "y"),
      ]
    : [conv("x", "w0", undefined, "y", 3)];
  const graph = [
    ...nodes.flatMap((one) => bytes(1, one)),
    ...bytes(2, "case"),
    ...weights.flatMap(({ name, dims, data }) => bytes(5, tensor(name, dims, data))),
    ...bytes(11, value("x", xShape)),
    ...bytes(12, value("y", xShape)),
  ];
  return new Uint8Array([...whole(1, 8), ...bytes(7, graph), ...bytes(8, whole(2, 17))]);
}
