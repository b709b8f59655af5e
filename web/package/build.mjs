// Builds the package from the compiler's module: `node build.mjs MODULE`, where MODULE is a folder with what
// iresnet-bindgen made (iresnet.js, iresnet.d.ts, iresnet_bg.wasm). The result is in dist/. Fails where it is too large.

import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build as esbuild } from "esbuild";

/** Most bytes, compressed as servers do by default. */
const LIMITS = { wasm: 250_000, js: 20_000 };

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const [made] = process.argv.slice(2);
if (!made) {
  console.error("usage: node build.mjs FOLDER");
  process.exit(2);
}
const dist = join(here, "dist");
const bindings = join(here, "src/bindings");

function run(program, ...words) {
  const { status, error } = spawnSync(process.execPath, [program, ...words], { cwd: here, stdio: "inherit" });
  if (status !== 0) {
    console.error(`${program} ${words.join(" ")} failed${error ? `: ${error.message}` : ""}`);
    process.exit(1);
  }
}

rmSync(dist, { recursive: true, force: true });
rmSync(bindings, { recursive: true, force: true });
mkdirSync(join(dist, "bindings"), { recursive: true });
mkdirSync(bindings, { recursive: true });
for (const name of ["iresnet.js", "iresnet.d.ts"]) cpSync(join(made, name), join(bindings, name));

const wasm = join(dist, "iresnet_bg.wasm");
const binaryen = dirname(require.resolve("binaryen/package.json"));
run(
  join(binaryen, "bin/wasm-opt"),
  join(made, "iresnet_bg.wasm"),
  "-Oz",
  "--converge",
  // What every browser with WebGPU can do.
  ...["bulk-memory", "bulk-memory-opt", "reference-types", "multivalue", "sign-ext", "mutable-globals"].map(
    (feature) => `--enable-${feature}`,
  ),
  "--enable-nontrapping-float-to-int",
  "--strip-debug",
  "--strip-producers",
  "-o",
  wasm,
);

const tsc = require.resolve("typescript/package.json").replace(/package\.json$/, "bin/tsc");
run(tsc, "--project", here);
cpSync(join(bindings, "iresnet.d.ts"), join(dist, "bindings/iresnet.d.ts"));
await esbuild({
  absWorkingDir: here,
  entryPoints: ["src/index.ts", "src/worker.ts", "src/server.ts"],
  outdir: dist,
  bundle: true,
  splitting: true,
  minify: true,
  format: "esm",
  target: "es2022",
  logLevel: "warning",
});

const compressed = (path) => gzipSync(readFileSync(path), { level: 9 }).length;
const scripts = readdirSync(dist, { recursive: true }).filter((name) => name.endsWith(".js"));
const sizes = { wasm: compressed(wasm), js: 0 };
for (const name of scripts) sizes.js += compressed(join(dist, name));
let failed = false;
for (const [kind, size] of Object.entries(sizes)) {
  const over = size > LIMITS[kind];
  failed ||= over;
  console.log(`${kind}: ${size} bytes compressed of ${LIMITS[kind]} allowed${over ? ": TOO LARGE" : ""}`);
}
if (failed && !process.env.IRESNET_ANY_SIZE) process.exit(1);
