// How long Chromium takes for each pipeline of encoding and inverting: `node pipelines.mjs [MODEL]`.

import { launch, pageWith, serve } from "./harness.mjs";

const name = process.argv[2] ?? "classifier";
const server = await serve();
const browser = await launch();
try {
  const page = await pageWith(browser, server.url);
  const found = await page.evaluate(async (name) => {
    const made = [];
    const { createComputePipeline } = GPUDevice.prototype;
    GPUDevice.prototype.createComputePipeline = function (descriptor) {
      const start = performance.now();
      const pipeline = createComputePipeline.call(this, descriptor);
      const entry = { label: descriptor.label, seconds: NaN };
      made.push(entry);
      void this.queue.onSubmittedWorkDone().then(() => (entry.seconds = (performance.now() - start) / 1000));
      return pipeline;
    };
    const times = [];
    const step = async (what, work) => {
      const [start, before] = [performance.now(), made.length];
      const result = await work();
      times.push({ what, seconds: (performance.now() - start) / 1000, pipelines: made.length - before });
      return result;
    };
    await step("init", () => pkg.init());
    const model = await step("load", () => pkg.Model.load(`/fixtures/${name}.safetensors`));
    const x = Float32Array.from({ length: model.inputLength }, (_, at) => Math.sin(at));
    const { z } = await step("encode", () => model.encode(x));
    await step("decode", () => model.decode(z));
    await step("encode again", () => model.encode(x));
    await step("decode again", () => model.decode(z));
    return { times, made };
  }, name);
  for (const { label, seconds } of found.made) console.log(seconds.toFixed(3), label);
  console.table(found.times);
} finally {
  await browser.close();
  await server.close();
}
