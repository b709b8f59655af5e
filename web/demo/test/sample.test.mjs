// The panel Sample, clicked through.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openBrowser, pixels, reached, slide, text } from '../tools/browser.mjs';

/** Samples are 16×16, four in a row of the grid, eight in that of a way. */
const SIDE = 16;
/** The ends of a way come back from their codes; the iteration stops at 1e-5, a byte is 4e-3. */
const BYTE = 1;
/** Bytes that are one of the 32 levels the density knows; it takes the middle of each. */
const LEVEL = 8;

let browser;
before(async () => {
  browser = await openBrowser();
});
after(() => browser.close());

/** One of the pictures side by side on a canvas of `columns`. */
function cut(all, columns, at) {
  const width = columns * SIDE;
  const [left, top] = [(at % columns) * SIDE, Math.floor(at / columns) * SIDE];
  return Array.from({ length: SIDE * SIDE }, (_, pixel) => all[(top + Math.floor(pixel / SIDE)) * width + left + (pixel % SIDE)]);
}

const distance = (a, b) => a.reduce((largest, value, at) => Math.max(largest, Math.abs(value - b[at])), 0);

test('samples: equal seeds give equal pictures, other seeds others, no temperature none but one', async () => {
  const { page, problems, close } = await browser.open({ panel: 'sample' });
  await reached(page, 'sample', 'done');
  assert.match(await text(page, 'sample-status'), /^16 samples in .* At most \d+ evaluations each\.$/);
  const first = await pixels(page, 'sample-grid');
  assert.equal(first.length, 64 * 64);

  const again = async () => {
    await page.getByRole('button', { name: 'Draw samples' }).click();
    await reached(page, 'sample', 'done');
    return pixels(page, 'sample-grid');
  };
  assert.ok(distance(await again(), first) <= BYTE, 'the same seed');
  await page.locator('#seed').fill('2');
  assert.ok(distance(await again(), first) > 50, 'another seed');
  await slide(page, 'temperature', 0);
  const still = await again();
  for (let at = 1; at < 16; at++) assert.ok(distance(cut(still, 4, at), cut(still, 4, 0)) <= BYTE);

  const seed = await page.locator('#seed').inputValue();
  await page.getByRole('button', { name: 'Another seed' }).click();
  await reached(page, 'sample', 'done');
  assert.notEqual(await page.locator('#seed').inputValue(), seed);
  assert.deepEqual(problems, []);
  await close();
});

test('the way from one picture to another begins at the one and ends at the other', async () => {
  const { page, problems, close } = await browser.open({ panel: 'sample', reducedMotion: 'reduce' });
  await reached(page, 'sample', 'done');
  await page.locator('#from-gallery').getByLabel('dress').check({ force: true });
  await page.locator('#to-gallery').getByLabel('sneaker').check({ force: true });
  await page.getByRole('button', { name: 'Show the way' }).click();
  await reached(page, 'way', 'done');
  assert.match(await text(page, 'way-status'), /^From dress to sneaker in /);
  const way = await pixels(page, 'way');
  const ends = await page.evaluate(() =>
    ['from-gallery', 'to-gallery'].map((id) => {
      const thumbnail = document.querySelector(`#${id} label:has(:checked) canvas`);
      const { data } = thumbnail.getContext('2d').getImageData(0, 0, 28, 28);
      return Array.from({ length: 784 }, (_, at) => data[4 * at]);
    }),
  );
  for (const [end, at] of [[ends[0], 0], [ends[1], 7]]) {
    const half = (y, x) => {
      const grey = (dy, dx) => end[(2 * y + dy - 2) * 28 + 2 * x + dx - 2];
      const mean = Math.round((grey(0, 0) + grey(0, 1) + grey(1, 0) + grey(1, 1)) / 4);
      return LEVEL * (Math.floor(mean / LEVEL) + 0.5);
    };
    const inner = Array.from({ length: 14 * 14 }, (_, pixel) => [1 + Math.floor(pixel / 14), 1 + (pixel % 14)]);
    const shown = cut(way, 8, at);
    const largest = Math.max(...inner.map(([y, x]) => Math.abs(half(y, x) - shown[y * SIDE + x])));
    assert.ok(largest <= BYTE, `picture ${at} differs by ${largest}`);
  }
  assert.deepEqual(problems, []);
  await close();
});
