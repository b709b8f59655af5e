// How fast and how smooth the built page is on this machine: medians over fresh browser contexts, with nothing cached.
// Ends with 1 where a limit is exceeded.
//
//     npm run build && node tools/measure.mjs

import { firstReconstruction, longestTask, openBrowser, reached, slide } from './browser.mjs';

const ROUNDS = 5;
/** From asking for the page to the first rebuilt picture, in milliseconds: visitors do not wait for longer. */
const FIRST_RECONSTRUCTION = 10_000;
/** Longer tasks of the page's thread are felt, in milliseconds. */
const LONGEST_TASK = 100;

const browser = await openBrowser();
const firsts = [];
const rebuilding = [];
const training = [];
for (let round = 0; round < ROUNDS; round++) {
  const { page, close } = await browser.open();
  firsts.push(await firstReconstruction(page));
  await reached(page, 'reconstruct', 'done');
  rebuilding.push(await longestTask(page));
  await page.locator('#tab-train').click();
  await slide(page, 'steps', 100);
  await page.getByRole('button', { name: 'Train', exact: true }).click();
  await reached(page, 'train', 'done', 600_000);
  training.push(await longestTask(page));
  await close();
}
await browser.close();

let exceeded = false;
function report(what, times, limit) {
  const sorted = times.toSorted((a, b) => a - b);
  const [least, median, most] = [0, ROUNDS >> 1, ROUNDS - 1].map((at) => sorted[at].toFixed(0));
  const verdict = Number(median) > limit ? 'EXCEEDS' : 'within';
  exceeded ||= Number(median) > limit;
  console.log(`${what}: ${median} ms (${least} to ${most}), ${verdict} the limit of ${limit} ms`);
}
console.log(`The demo page, Chromium ${browser.version}; medians of ${ROUNDS}`);
report('first reconstruction', firsts, FIRST_RECONSTRUCTION);
report('longest task until it is done', rebuilding, LONGEST_TASK);
report('longest task with training', training, LONGEST_TASK);
process.exitCode = exceeded ? 1 : 0;
