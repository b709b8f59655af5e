// The built page in a real browser: what the tests and the tools share.

import { appendFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { FLAGS } from '../../chromium.mjs';
import { serve } from '../../serve.mjs';

/** The page stands in a folder of its host, as on many: no address may begin at the root. */
const FOLDER = '/some/folder/';

const built = fileURLToPath(new URL('../dist', import.meta.url));

/** Where the browser is: CHROMIUM, or where Linux keeps it. */
export function executable() {
  const places = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  const found = places.find((path) => path && existsSync(path));
  if (!found) throw new Error('no Chromium: set CHROMIUM to its path');
  return found;
}

/** Runs in the page before its own scripts: notes long tasks, and how often each canvas is painted. */
function watch() {
  globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) globalThis.longTasks.push({ startTime, duration });
  }).observe({ type: 'longtask', buffered: true });
  globalThis.paintings = {};
  const { putImageData } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.putImageData = function (...args) {
    const { id } = this.canvas;
    if (id) globalThis.paintings[id] = (globalThis.paintings[id] ?? 0) + 1;
    return putImageData.apply(this, args);
  };
}

/** A browser with the page's host, with or without WebGPU. Every page is opened with a fresh cache. */
export async function openBrowser({ webgpu = true } = {}) {
  if (!existsSync(join(built, 'index.html'))) throw new Error(`${built} has no page: run \`npm run build\` first`);
  const server = await serve({ [FOLDER]: built });
  // Browsers offer WebGPU to secure pages only: those from this machine, but not those from a host of another name.
  const host = webgpu ? '127.0.0.1' : 'demo.example';
  const args = [...FLAGS, '--host-resolver-rules=MAP demo.example 127.0.0.1'];
  const browser = await chromium.launch({ executablePath: executable(), args });
  const address = `http://${host}:${server.port}${FOLDER}`;
  return {
    version: browser.version(),
    /**
     * Opens the page at `#panel`. The rest are options of a browser context, such as `viewport`, `colorScheme`,
     * `reducedMotion`.
     */
    async open({ panel = '', ...options } = {}) {
      const context = await browser.newContext({ viewport: { width: 1100, height: 900 }, ...options });
      const page = await context.newPage();
      const problems = [];
      page.on('pageerror', (error) => problems.push(String(error)));
      page.on('console', (message) => {
        if (message.type() === 'error') problems.push(message.text());
      });
      page.on('requestfailed', (request) => problems.push(`${request.url()} failed`));
      page.on('response', (response) => {
        if (response.status() >= 400) problems.push(`${response.url()}: ${response.status()}`);
      });
      await page.addInitScript(watch);
      await page.goto(address + (panel && `#${panel}`));
      return { page, problems, close: () => context.close() };
    },
    async close() {
      await browser.close();
      await server.close();
    },
  };
}

/** Waits until a panel has reached a state. */
export function reached(page, panel, state, timeout = 120_000) {
  return page.waitForSelector(`#${panel}[data-state=${state}]`, { state: 'attached', timeout });
}

/** Sets a slider, as a visitor who drags it. */
export function slide(page, id, value) {
  return page.locator(`#${id}`).evaluate((slider, to) => {
    slider.value = String(to);
    slider.dispatchEvent(new Event('input', { bubbles: true }));
  }, value);
}

/** Waits for the first rebuilt picture; milliseconds since the page was asked for. */
export async function firstReconstruction(page) {
  const name = 'first-reconstruction';
  await page.waitForFunction((of) => performance.getEntriesByName(of).length > 0, name, { timeout: 60_000 });
  return page.evaluate((of) => performance.getEntriesByName(of)[0].startTime, name);
}

/** The longest task of the page's thread so far, in milliseconds; 0 if none took 50. */
export async function longestTask(page) {
  const tasks = await page.evaluate(() => globalThis.longTasks);
  return Math.max(0, ...tasks.map(({ duration }) => duration));
}

/** The text of an element. */
export const text = (page, id) => page.locator(`#${id}`).innerText();

/** The pixels of a canvas, a number for each (grey, 0 to 255). */
export function pixels(page, id) {
  return page.locator(`#${id}`).evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, at) => data[4 * at]);
  });
}

/** Tells whoever counts adapters which one the page computed on. */
export async function logAdapter(page) {
  const name = await page.locator('[data-fact=adapter] dd').innerText();
  if (process.env.IRESNET_ADAPTER_LOG) await appendFile(process.env.IRESNET_ADAPTER_LOG, `${name} (browser)\n`);
  return name;
}
