// Loads, inverts and disposes of a model again and again: `node leak.mjs [ROUNDS]`. Neither buffers on the device nor the
// module's memory may grow.

import { pathToFileURL } from "node:url";

/** Rounds after which the module's memory has its size. */
const SETTLED = 10;

/** What is held after a few rounds, and after all of them. */
export function rounds(page, count) {
  return page.evaluate(
    async ([count, settledAfter]) => {
      const runtime = await pkg.init();
      const bytes = await (await fetch("/fixtures/classifier.safetensors")).arrayBuffer();
      const x = Float32Array.from({ length: 4 * 64 }, (_, at) => Math.sin(at));
      let settled;
      let most = 0;
      for (let round = 0; round < count; round += 1) {
        const model = await pkg.Model.load(bytes);
        await model.invert(x, { iterations: 20 });
        most = Math.max(most, runtime.memory().gpuBuffers);
        model.dispose();
        // What is at work is freed when it has ended.
        await new Promise((resolve) => setTimeout(resolve, 0));
        if (round + 1 === settledAfter) settled = runtime.memory();
      }
      return { settled, most, after: runtime.memory() };
    },
    [count, SETTLED],
  );
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const { launch, pageWith, serve } = await import("./harness.mjs");
  const count = Number(process.argv[2] ?? 1000);
  const server = await serve();
  const browser = await launch();
  try {
    const page = await pageWith(browser, server.url);
    const start = performance.now();
    const { settled, most, after } = await rounds(page, count);
    console.log(`${count} rounds in ${((performance.now() - start) / 1000).toFixed(1)} s, up to ${most} buffers at a time`);
    console.log(`after ${SETTLED}: ${JSON.stringify(settled)}`);
    console.log(`after ${count}: ${JSON.stringify(after)}`);
    const grown = after.wasmBytes - settled.wasmBytes;
    if (after.gpuBuffers > 0 || after.gpuBytes > 0 || grown > 0) {
      console.error("it leaks");
      process.exitCode = 1;
    }
  } finally {
    await browser.close();
    await server.close();
  }
}
