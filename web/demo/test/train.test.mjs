// The panel Train, clicked through.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser, pixels, reached, slide, text } from '../tools/browser.mjs';

let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser.close());

test('a density is learned, painted and saved; learning can be stopped', async () => {
  const { page, problems, close } = await browser.open({ panel: 'train' });
  const tab = page.getByRole('tab', { name: 'Train' });
  await tab.waitFor();
  await slide(page, 'steps', 100);
  await slide(page, 'blocks', 4);
  await page.getByRole('button', { name: 'Train', exact: true }).click();
  await reached(page, 'train', 'done', 180_000);
  assert.match(await text(page, 'train-status'), /^Learned in .* Loss -?\d+\.\d\d nats\.$/);

  const waiting = page.waitForEvent('download');
  await page.locator('#loss-tools button').click();
  let csv = '';
  for await (const part of await (await waiting).createReadStream()) csv += part;
  const losses = csv.trim().split('\n').slice(1).map((row) => Number(row.split(',')[2]));
  assert.ok(losses.length >= 10);
  assert.ok(losses.at(-1) < losses[0] - 0.1, `the loss went from ${losses[0]} to ${losses.at(-1)}`);

  const density = await pixels(page, 'density');
  assert.ok(Math.max(...density) - Math.min(...density) > 60, 'the density has shades');
  const drawn = await page.locator('#points').evaluate((canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return data.filter((_, at) => at % 4 === 3 && data[at] > 0).length;
  });
  assert.ok(drawn > 1000, `${drawn} pixels of samples`);

  const saved = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Download the model' }).click();
  assert.equal((await saved).suggestedFilename(), '8gaussians.safetensors');

  await slide(page, 'steps', 2000);
  await page.getByRole('button', { name: 'Train', exact: true }).click();
  await page.locator('#train-numbers', { hasText: 'Step' }).waitFor();
  await page.locator('#stop-training').click();
  await reached(page, 'train', 'stopped');
  assert.deepEqual(problems, []);
  await close();
});
