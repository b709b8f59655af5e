// What the tests share: a server for pages, the package and the fixtures, and a browser with WebGPU.

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { appendFileSync, readFileSync } from "node:fs";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { FLAGS } from "../chromium.mjs";
import { serve as serveFolders } from "../serve.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
export const repository = join(here, "../..");
export const dist = join(here, "../package/dist");
/** Models and expected numbers, made by `cargo run --example web_fixtures`. */
export const fixtures = process.env.IRESNET_WEB_FIXTURES ?? join(repository, "target/web/fixtures");
export const expected = JSON.parse(readFileSync(join(fixtures, "expected.json"), "utf8"));

/** Serves the package, the fixtures and other folders: `{ "/app/": path, … }`; any other address is an empty page. */
export function serve(folders = {}) {
  const places = { "/dist/": dist, "/fixtures/": fixtures, ...folders };
  return serveFolders(places, "<!doctype html><meta charset=utf-8><title>test</title><body>");
}

/** Chromium; with `webgpu: false` one in which WebGPU is switched off. */
export async function launch({ webgpu = true } = {}) {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const args = webgpu ? FLAGS : ["--no-sandbox", "--disable-features=WebGPU,WebGPUService", "--no-first-run"];
  return chromium.launch({ executablePath, args });
}

/** What {@link openBoth} has opened. */
export let server;
export let browser;

/** Has a server and a browser opened before the tests of a file, then `ready` called, and both closed after the tests. */
export function openBoth(ready = async () => {}) {
  before(async () => {
    server = await serve();
    browser = await launch();
    await ready();
  });
  after(async () => {
    await browser?.close();
    await server?.close();
  });
}

/** Says which adapter the tests ran on; fails without one, so that nothing is proved on nothing. */
export async function requireAdapter(page) {
  const info = await page.evaluate(async () => {
    const adapter = await navigator.gpu?.requestAdapter();
    return adapter ? `${adapter.info.vendor} ${adapter.info.architecture}` : null;
  });
  if (!info) throw new Error("navigator.gpu.requestAdapter() gave no adapter");
  if (process.env.IRESNET_ADAPTER_LOG) appendFileSync(process.env.IRESNET_ADAPTER_LOG, `${info} (browser)\n`);
  return info;
}

/** A page on which `window.pkg` is the package, from its main entry or from `worker`. */
export async function pageWith(browser, url, entry = "index") {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error("page:", error.message));
  await page.goto(`${url}/`);
  await page.evaluate(async (module) => {
    globalThis.pkg = await import(module);
    /** What a call rejects with: its code, name and message. */
    globalThis.failure = async (call) => {
      try {
        await call();
        return { code: "none" };
      } catch (error) {
        return { code: error.code, name: error.name, message: error.message, ours: error instanceof pkg.IResNetError };
      }
    };
    /** Like JSON, but for typed arrays. */
    globalThis.plain = (value) =>
      JSON.parse(JSON.stringify(value, (_, v) => (ArrayBuffer.isView(v) ? Array.from(v) : v)));
  }, `${url}/dist/${entry}.js`);
  return page;
}

/** Largest difference relative to the largest number. */
export function relativeError(found, wanted) {
  if (found.length !== wanted.length) return Infinity;
  const size = wanted.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-6);
  return found.reduce((most, value, at) => Math.max(most, Math.abs(value - wanted[at])), 0) / size;
}
