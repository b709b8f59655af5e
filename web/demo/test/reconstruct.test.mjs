// The panel Reconstruct, clicked through.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { openBrowser, pixels, reached, slide, text } from '../tools/browser.mjs';

/** Blocks of the classifier: each takes at least one evaluation. */
const BLOCKS = 4;

let browser;
let page;
let problems;
let close;
before(async () => {
  browser = await openBrowser();
});
beforeEach(async () => {
  ({ page, problems, close } = await browser.open());
  await reached(page, 'reconstruct', 'done');
});
afterEach(async () => {
  assert.deepEqual(problems, []);
  await close();
});
after(() => browser.close());

/** Whether two pictures look the same: no pixel differs by more than rounding to a byte. */
function same(a, b) {
  return a.length === b.length && a.every((value, at) => Math.abs(value - b[at]) <= 1);
}

/** Waits for the run that a click has begun. */
async function next() {
  await reached(page, 'reconstruct', 'running', 5000);
  await reached(page, 'reconstruct', 'done');
}

test('both solvers rebuild the picture; the twin loses it', async () => {
  const input = await pixels(page, 'input-picture');
  assert.ok(same(await pixels(page, 'picard-picture'), input));
  assert.ok(same(await pixels(page, 'anderson-picture'), input));
  assert.ok(!same(await pixels(page, 'twin-picture'), input));
  for (const id of ['picard-result', 'anderson-result']) {
    const [, evaluations, error] = (await text(page, id)).match(/^back after (\d+) evaluations; largest error (.*)$/);
    assert.ok(Number(evaluations) > BLOCKS, `${evaluations} evaluations`);
    assert.match(error, /× 10⁻[⁶-⁹]$/);
  }
  assert.match(await text(page, 'twin-result'), /ran away|not there/);
  for (const line of ['picard', 'anderson', 'twin']) {
    const points = await page.locator(`#residual-chart polyline.${line}`).getAttribute('points');
    assert.ok(points.split(' ').length > 5, `the chart has a line ${line}`);
  }
});

test('another picture, few iterations, noise', async () => {
  const before = await pixels(page, 'input-picture');
  await page.locator('#gallery').getByLabel('sandal').check({ force: true });
  await next();
  const input = await pixels(page, 'input-picture');
  assert.ok(!same(input, before));
  assert.ok(same(await pixels(page, 'picard-picture'), input));

  await slide(page, 'iterations', 2);
  await next();
  assert.match(await text(page, 'picard-result'), /^not there after \d+ evaluations/);

  await slide(page, 'iterations', 60);
  await next();
  await slide(page, 'noise', 0.5);
  await next();
  assert.match(await text(page, 'picard-result'), /^back after \d+ evaluations; off by at most/);
  assert.ok(!same(await pixels(page, 'picard-picture'), input));
});

test('a drawing by pointer and keyboard, and an upload', async () => {
  await page.getByRole('button', { name: 'Draw one' }).click();
  const box = await page.locator('#pad').boundingBox();
  await page.mouse.move(box.x + 40, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + 160, box.y + 150, { steps: 5 });
  await page.mouse.up();
  await page.locator('#pad').focus();
  await page.keyboard.press('Space');
  for (let step = 0; step < 8; step++) await page.keyboard.press('ArrowLeft');
  assert.match(await page.locator('#pad').getAttribute('aria-label'), /pen down/);
  await page.getByRole('button', { name: 'Use the drawing' }).click();
  await next();
  const drawn = await pixels(page, 'input-picture');
  assert.ok(drawn.filter((value) => value > 200).length > 30, 'the strokes are in the picture');
  assert.ok(same(await pixels(page, 'picard-picture'), drawn));
  assert.match(await text(page, 'input-result'), /your drawing/);

  const png = await page.locator('#sample-grid').evaluate(() => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [60, 40];
    const into = canvas.getContext('2d');
    into.fillStyle = 'white';
    into.fillRect(0, 0, 60, 40);
    into.fillStyle = 'black';
    into.fillRect(25, 10, 10, 20);
    return canvas.toDataURL().split(',')[1];
  });
  await page.locator('#upload').setInputFiles({ name: 'box.png', mimeType: 'image/png', buffer: Buffer.from(png, 'base64') });
  await next();
  const uploaded = await pixels(page, 'input-picture');
  assert.ok(uploaded[0] < 20 && uploaded[16 * 32 + 16] > 235, 'a thing on white becomes bright on black');
  assert.ok(same(await pixels(page, 'picard-picture'), uploaded));

  await page.locator('#upload').setInputFiles({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('no picture') });
  await page.getByText('notes.txt cannot be read as a picture').waitFor();
});

test('a run can be stopped and started again', async () => {
  await page.getByRole('button', { name: 'Run again' }).click();
  await page.locator('#reconstruct').getByRole('button', { name: 'Stop' }).click();
  await reached(page, 'reconstruct', 'stopped');
  assert.equal(await text(page, 'reconstruct-status'), 'Stopped.');
  await page.getByRole('button', { name: 'Run again' }).click();
  await next();
  assert.match(await text(page, 'picard-result'), /^back after/);
});

test('what is proved of both networks is told', async () => {
  await page.getByText('What is being compared?').click();
  await page.locator('#certificates table').waitFor();
  const rows = await page.locator('#certificates tbody tr').evaluateAll((all) =>
    all.map((row) => [...row.cells].slice(2).map((cell) => Number(cell.innerText))),
  );
  assert.equal(rows.length, BLOCKS);
  for (const [own] of rows) assert.ok(own < 1, `a bound of ${own}`);
  assert.ok(rows.some(([, twin]) => !(twin < 1)));
});

test('the numbers of the chart can be saved', async () => {
  const waiting = page.waitForEvent('download');
  await page.locator('#residual-tools button').click();
  const stream = await (await waiting).createReadStream();
  let csv = '';
  for await (const part of stream) csv += part;
  const rows = csv.trim().split('\n');
  assert.equal(rows[0], 'line,x,y');
  assert.ok(rows.length > 30);
});
