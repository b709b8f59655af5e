// Compares this package with TensorFlow.js and ONNX Runtime in one browser: `node bench.mjs`, after `cargo xtask web
// --bench` has built the module with its single convolutions.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import { FLAGS } from "../chromium.mjs";
import { serve } from "../serve.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const module = process.env.IRESNET_BENCH_MODULE ?? join(here, "../../target/web/bench");
const ort = dirname(require.resolve("onnxruntime-web"));
const version = (name) => JSON.parse(readFileSync(join(here, "node_modules", name, "package.json"), "utf8")).version;

const { outputFiles } = await build({
  absWorkingDir: here,
  entryPoints: ["page.js"],
  bundle: true,
  format: "esm",
  write: false,
  logLevel: "error",
  alias: { "iresnet-module": join(module, "iresnet.js") },
  external: ["fs", "path", "worker_threads", "perf_hooks", "os", "node:*"],
});
const server = await serve(
  { "/page.js": outputFiles[0].contents, "/bench/": module, "/ort/": ort },
  "<!doctype html><title>bench</title><script type=module src=/page.js></script>",
);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: FLAGS,
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(error.message));
  await page.goto(server.url);
  await page.waitForFunction(() => globalThis.bench !== undefined);
  const results = await page.evaluate(() => globalThis.bench());
  const peers = `@tensorflow/tfjs-backend-webgpu ${version("@tensorflow/tfjs-backend-webgpu")}, onnxruntime-web ${version("onnxruntime-web")}`;
  console.log(`Chromium ${browser.version()}, SwiftShader; ${peers}; 64 channels, 16×16, batch 32; medians of 5, in turn`);
  for (const { what, flops, measured } of results) {
    const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
    const own = median(measured.iresnet);
    for (const [name, list] of Object.entries(measured)) {
      const one = median(list);
      const [least, most] = [Math.min(...list), Math.max(...list)].map((value) => (value * 1000).toFixed(1));
      const rate = (flops / one / 1e9).toFixed(2);
      const ratio = name === "iresnet" ? "" : `, iresnet is ${(one / own).toFixed(1)} times as fast`;
      console.log(`${what}: ${name} ${(one * 1000).toFixed(1)} ms (${least} to ${most}), ${rate} GFLOP/s${ratio}`);
    }
  }
} finally {
  await browser.close();
  await server.close();
}
