// Runs in the browser: the same convolution and the same block by this package, TensorFlow.js and ONNX Runtime, on one
// adapter, in turn.

import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-backend-webgpu";
import * as ort from "onnxruntime-web/webgpu";
import init, { Case, open } from "iresnet-module";
import { model } from "./onnx.js";

const [BATCH, CHANNELS, SIZE] = [32, 64, 16];
const ROUNDS = 5;
/** Milliseconds that one measurement is to take. */
const LONG_ENOUGH = 400;

function random(length, scale, seed) {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * scale;
  });
}

function weights(block) {
  const of = (name, dims, at) => {
    const length = dims.reduce((product, dim) => product * dim, 1);
    return { name, dims, data: random(length, dims.length > 1 ? 1 / Math.sqrt(length / CHANNELS) : 0.1, at + 2) };
  };
  if (!block) return [of("w0", [CHANNELS, CHANNELS, 3, 3], 0)];
  return [3, 1, 3].flatMap((kernel, at) => [
    of(`w${at}`, [CHANNELS, CHANNELS, kernel, kernel], 2 * at),
    of(`b${at}`, [CHANNELS], 2 * at + 1),
  ]);
}

async function ours(device, block, x, params) {
  const operands = new Float32Array([...x, ...params.flatMap(({ data }) => [...data])]);
  const bound = await Case.bind(device, block, BATCH, CHANNELS, SIZE, operands);
  return {
    run: (times) => bound.run(times),
    async read() {
      await bound.run(1);
      return bound.read();
    },
  };
}

async function tensorflow(block, x, params) {
  await tf.setBackend("webgpu");
  await tf.ready();
  // Channels last, as TensorFlow.js has them.
  const nhwc = tf.transpose(tf.tensor4d(x, [BATCH, CHANNELS, SIZE, SIZE]), [0, 2, 3, 1]);
  const tensors = params.map(({ dims, data }) =>
    dims.length > 1 ? tf.transpose(tf.tensor4d(data, dims), [2, 3, 1, 0]) : tf.tensor1d(data),
  );
  const forward = () =>
    tf.tidy(() => {
      if (!block) return tf.conv2d(nhwc, tensors[0], 1, "same");
      let a = nhwc;
      for (let layer = 0; layer < 3; layer += 1) {
        a = tf.add(tf.conv2d(tf.elu(a), tensors[2 * layer], 1, "same"), tensors[2 * layer + 1]);
      }
      return tf.add(nhwc, a);
    });
  return {
    async run(times) {
      for (let at = 1; at < times; at += 1) forward().dispose();
      const last = forward();
      // Reading one number waits for all before it, and costs nothing else.
      const one = tf.slice(last, [0, 0, 0, 0], [1, 1, 1, 1]);
      await one.data();
      tf.dispose([last, one]);
    },
    async read() {
      const y = forward();
      const data = await tf.transpose(y, [0, 3, 1, 2]).data();
      return data;
    },
  };
}

async function onnx(block, x, params) {
  ort.env.wasm.wasmPaths = "/ort/";
  ort.env.wasm.numThreads = 1;
  const shape = [BATCH, CHANNELS, SIZE, SIZE];
  const session = await ort.InferenceSession.create(model(block, shape, params), {
    executionProviders: ["webgpu"],
    preferredOutputLocation: "gpu-buffer",
  });
  const device = await ort.env.webgpu.device;
  const buffer = device.createBuffer({ size: x.byteLength, usage: 0x80 | 0x4 | 0x8 });
  device.queue.writeBuffer(buffer, 0, x);
  const input = ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: shape });
  return {
    async run(times) {
      for (let at = 0; at < times; at += 1) {
        const { y } = await session.run({ x: input });
        y.dispose();
      }
      await device.queue.onSubmittedWorkDone();
    },
    async read() {
      const { y } = await session.run({ x: input });
      return y.getData();
    },
  };
}

async function seconds(one) {
  await one.run(1);
  let start = performance.now();
  await one.run(1);
  const times = Math.max(1, Math.ceil(LONG_ENOUGH / (performance.now() - start)));
  start = performance.now();
  await one.run(times);
  return (performance.now() - start) / 1000 / times;
}

globalThis.bench = async () => {
  await init({ module_or_path: "/bench/iresnet_bg.wasm" });
  const device = await open();
  const results = [];
  for (const block of [false, true]) {
    const x = random(BATCH * CHANNELS * SIZE * SIZE, 1, 1);
    const params = weights(block);
    const contestants = {
      iresnet: await ours(device, block, x, params),
      "tfjs-backend-webgpu": await tensorflow(block, x, params),
      "onnxruntime-web": await onnx(block, x, params),
    };
    const reference = await contestants.iresnet.read();
    for (const [name, one] of Object.entries(contestants)) {
      const found = await one.read();
      const off = found.reduce((most, value, at) => Math.max(most, Math.abs(value - reference[at])), 0);
      if (!(found.length === reference.length && off < 1e-3)) throw new Error(`${name} computes something else: ${off}`);
    }
    const measured = Object.fromEntries(Object.keys(contestants).map((name) => [name, []]));
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, one] of Object.entries(contestants)) measured[name].push(await seconds(one));
    }
    const pixels = BATCH * SIZE * SIZE * CHANNELS * CHANNELS;
    results.push({ what: block ? "block" : "convolution", flops: 2 * pixels * (block ? 19 : 9), measured });
  }
  return results;
};
