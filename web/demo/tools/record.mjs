// Writes public/recorded: what the page shows where there is no WebGPU, taken from a run of the built page.
//
//     npm run build && node tools/record.mjs && npm run build

import { mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { logAdapter, openBrowser, reached, slide, text } from './browser.mjs';

const into = new URL('../public/recorded/', import.meta.url);
await mkdir(into, { recursive: true });
const browser = await openBrowser();
const { page, problems, close } = await browser.open();

/** Keeps a canvas as a picture, on white where it is transparent. */
async function picture(id, caption) {
  const base64 = await page.locator(`#${id}`).evaluate((canvas) => {
    const copy = document.createElement('canvas');
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext('2d');
    context.fillStyle = '#fff';
    context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(canvas, 0, 0);
    return copy.toDataURL().split(',')[1];
  });
  await writeFile(new URL(`${id}.png`, into), Buffer.from(base64, 'base64'));
  return { file: `${id}.png`, caption, label: await page.locator(`#${id}`).getAttribute('aria-label') };
}

/** Keeps the numbers of a chart. */
async function numbers(tools, file) {
  const waiting = page.waitForEvent('download');
  await page.locator(`#${tools} button`).click();
  await (await waiting).saveAs(fileURLToPath(new URL(file, into)));
}

const records = [];

await reached(page, 'reconstruct', 'done');
await numbers('residual-tools', 'residuals.csv');
const tracks = [];
for (const [id, title] of [
  ['input', 'What goes in'],
  ['code', 'Its code'],
  ['picard', 'Fixed-point iteration'],
  ['anderson', 'Accelerated'],
  ['twin', 'Unconstrained twin'],
]) {
  tracks.push(await picture(`${id}-picture`, `${title}: ${await text(page, `${id}-result`)}`));
}
records.push({
  title: 'From the code back to the picture',
  outcome: await text(page, 'reconstruct-status'),
  layout: 'tracks',
  pictures: tracks,
  numbers: { file: 'residuals.csv', kind: 'residual', caption: await text(page, 'residual-caption') },
});

await page.locator('#tab-sample').click();
await reached(page, 'sample', 'done');
records.push({
  title: 'Pictures that never were',
  outcome: await text(page, 'sample-status'),
  layout: 'grid',
  pictures: [await picture('sample-grid', 'Samples of the density')],
});
await page.getByRole('button', { name: 'Show the way' }).click();
await reached(page, 'way', 'done');
records.push({
  title: 'From one picture to another',
  outcome: await text(page, 'way-status'),
  layout: 'strip',
  pictures: [await picture('way', 'The straight line between two codes, decoded')],
});

await page.locator('#tab-train').click();
await slide(page, 'steps', 100);
await slide(page, 'blocks', 4);
await page.getByRole('button', { name: 'Train', exact: true }).click();
await reached(page, 'train', 'done', 600_000);
await numbers('loss-tools', 'loss.csv');
records.push({
  title: 'A density being learned',
  outcome: await text(page, 'train-status'),
  layout: 'tracks two',
  pictures: [await picture('density', 'Density'), await picture('points', 'Samples')],
  numbers: { file: 'loss.csv', kind: 'loss', caption: await text(page, 'loss-caption') },
});

const adapter = await logAdapter(page);
if (problems.length > 0) throw new Error(problems.join('\n'));
const recording = { adapter, browser: `Chromium ${browser.version}`, records };
await writeFile(new URL('recorded.json', into), `${JSON.stringify(recording, null, 2)}\n`);
console.log(records.map(({ title, outcome }) => `${title}: ${outcome}`).join('\n'));
await close();
await browser.close();
