// The page as a whole: what it shows by itself, and what it does without WebGPU. How fast and how smoothly is measured by
// ../tools/measure.mjs.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { firstReconstruction, logAdapter, openBrowser, reached, text } from '../tools/browser.mjs';

let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser.close());

test('a picture is rebuilt by itself', async () => {
  const { page, problems, close } = await browser.open();
  const at = await firstReconstruction(page);
  const adapter = await logAdapter(page);
  console.log(`first reconstruction after ${(at / 1000).toFixed(1)} s on ${adapter}`);
  assert.match(await text(page, 'picard-result'), /^back after \d+ evaluations; largest error/);
  await reached(page, 'reconstruct', 'done');
  assert.deepEqual(problems, []);
  await close();
});

test('adapter, backend, memory and timings are shown', async () => {
  const { page, close } = await browser.open();
  await reached(page, 'reconstruct', 'done');
  const facts = await page.locator('#machine').innerText();
  assert.match(facts, /swiftshader/i);
  assert.match(facts, /WebGPU/);
  assert.match(facts, /MB in \d+ buffers/);
  await page.getByText('Timings').click();
  const timings = await page.locator('#timings').innerText();
  for (const what of [/Module and device ready/, /A picture encoded/, /Fixed-point iteration: \d+ evaluations/]) {
    assert.match(timings, what);
  }
  await page.getByText('Models', { exact: true }).click();
  const models = await page.locator('#models').innerText();
  assert.match(models, /\d+\.\d % right/);
  assert.match(models, /bits per dimension/);
  await close();
});

test('without WebGPU the page says so and shows recorded results', async () => {
  const without = await openBrowser({ webgpu: false });
  const { page, problems } = await without.open();
  await page.locator('#recorded article').nth(3).waitFor();
  assert.match(await text(page, 'notice'), /cannot run here: .*https.*recorded elsewhere/s);
  assert.equal(await page.locator('#live').isVisible(), false);
  // Every recorded picture is there. Those further down are loaded when they come into view.
  for (const image of await page.locator('#recorded img').all()) {
    await image.scrollIntoViewIfNeeded();
    await image.evaluate((element) => element.decode());
    assert.ok(await image.evaluate(({ naturalWidth }) => naturalWidth > 8));
  }
  const points = await page.locator('#recorded polyline.picard').getAttribute('points');
  assert.ok(points.split(' ').length > 10, 'the recorded residuals are drawn');
  // That the device is missing is told on the console as well.
  assert.deepEqual(problems.filter((text) => !text.includes('WebGPU')), []);
  await without.close();
});

test('those who want less movement get the result without the way', async () => {
  const painted = async (reducedMotion) => {
    const { page, close } = await browser.open({ reducedMotion });
    await reached(page, 'reconstruct', 'done');
    const count = await page.evaluate(() => globalThis.paintings['picard-picture']);
    await close();
    return count;
  };
  assert.equal(await painted('reduce'), 1);
  assert.ok((await painted('no-preference')) > 5);
});
