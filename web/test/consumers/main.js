import { Model } from "iresnet";
import * as worker from "iresnet/worker";

async function run() {
  const x = new Float32Array([0.5, -0.5]);
  const lengths = [];
  for (const { load } of [Model, worker.Model]) {
    const model = await load("/fixtures/toy.safetensors");
    const { data } = await model.invert(x);
    lengths.push(Math.abs(data[0] - x[0]) < 1e-4);
  }
  return lengths.every(Boolean) ? "done" : "wrong";
}
run().then(
  (text) => (document.title = text),
  (error) => (document.title = `${error.code}: ${error.message}`),
);
