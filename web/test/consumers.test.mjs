// What installs the packed tarball: two bundlers, a page without one, strict TypeScript; and what checks packages.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { launch, serve } from "./harness.mjs";

const require = createRequire(import.meta.url);
const here = fileURLToPath(new URL(".", import.meta.url));
const packages = join(here, "../package");
const { version } = JSON.parse(readFileSync(join(packages, "package.json"), "utf8"));
const tarball = join(packages, `iresnet-${version}.tgz`);
const npm = process.platform === "win32" ? "npm.cmd" : "npm";

let place;
let browser;
before(async () => {
  place = mkdtempSync(join(tmpdir(), "iresnet-consumers-"));
  browser = await launch();
});
after(async () => {
  await browser?.close();
  if (place) rmSync(place, { recursive: true, force: true });
});

function run(cwd, program, ...words) {
  const done = spawnSync(program, words, { cwd, encoding: "utf8", shell: process.platform === "win32" });
  assert.equal(done.status, 0, `${program} ${words.join(" ")}\n${done.stdout}\n${done.stderr}`);
  return done.stdout;
}

const node = (cwd, ...words) => run(cwd, process.execPath, ...words);

/** A program of one of the packages that the tests depend on. */
function program(name, bin) {
  const manifest = require.resolve(`${name}/package.json`);
  const { bin: bins } = JSON.parse(readFileSync(manifest, "utf8"));
  return join(dirname(manifest), typeof bins === "string" ? bins : bins[bin ?? name]);
}

/** The consumer with the package installed from the tarball; pages have their script in common. */
function consumer(name) {
  const folder = join(place, name);
  cpSync(join(here, "consumers/main.js"), join(folder, "main.js"));
  cpSync(join(here, "consumers", name), folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name, private: true, type: "module" }));
  run(folder, npm, "install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", tarball);
  return folder;
}

/** The page in `folder` runs the package. */
async function works(folder) {
  const server = await serve({ "/site/": folder });
  const page = await browser.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("requestfailed", (request) => errors.push(`${request.url()} cannot be fetched`));
  try {
    await page.goto(`${server.url}/site/`);
    await page.waitForFunction(() => document.title !== "waiting", undefined, { timeout: 60_000 });
    assert.equal(await page.title(), "done", errors.join("\n"));
    assert.deepEqual(errors, []);
  } finally {
    await page.close();
    await server.close();
  }
}

test("Vite bundles it", async () => {
  const folder = consumer("vite");
  node(folder, program("vite"), "build", "--base", "./", "--logLevel", "warn");
  await works(join(folder, "dist"));
});

test("webpack bundles it", async () => {
  const folder = consumer("webpack");
  // Through its own interface: its command line is another package.
  const webpack = require("webpack");
  const config = require(join(folder, "webpack.config.cjs"));
  const stats = await new Promise((resolve, reject) =>
    webpack({ ...config, context: folder, output: { ...config.output, path: join(folder, "dist") } }, (error, stats) =>
      error ? reject(error) : resolve(stats),
    ),
  );
  assert.ok(!stats.hasErrors() && !stats.hasWarnings(), stats.toString("errors-warnings"));
  cpSync(join(folder, "index.html"), join(folder, "dist/index.html"));
  await works(join(folder, "dist"));
});

test("a page without a bundler imports it", () => works(consumer("plain")));

test("strict TypeScript accepts it", () => {
  const folder = consumer("types");
  node(folder, join(dirname(require.resolve("typescript/package.json")), "bin/tsc"), "--project", folder);
});

test("importing it touches neither GPU nor DOM", () => {
  const folder = consumer("plain");
  node(folder, "--input-type=module", "--eval", 'await import("iresnet"); await import("iresnet/worker");');
});

test("the tarball holds what it should", () => {
  const folder = join(place, "unpacked");
  mkdirSync(folder);
  run(folder, "tar", "-xzf", tarball);
  const files = readdirSync(join(folder, "package"), { recursive: true }).map(String);
  for (const name of ["README.md", "package.json", "dist/index.js", "dist/index.d.ts", "dist/worker.js", "dist/iresnet_bg.wasm"]) {
    assert.ok(files.includes(name), `${name} is not among ${files.join(", ")}`);
  }
  assert.ok(!files.some((name) => name.startsWith("src")), "no sources");
});

test("publint has nothing to say", async () => {
  const { publint } = await import("publint");
  const bytes = readFileSync(tarball);
  const { messages } = await publint({ strict: true, pack: { tarball: Uint8Array.from(bytes).buffer } });
  assert.deepEqual(messages, []);
});

test("are the types wrong? no", () => {
  // Only ES modules, and a file that is none of JavaScript's, are what this package is.
  node(place, program("@arethetypeswrong/cli", "attw"), tarball, "--profile", "esm-only", "--exclude-entrypoints", "./wasm");
});
