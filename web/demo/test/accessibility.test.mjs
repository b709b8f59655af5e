// For everybody: axe-core finds nothing, the keyboard does all, and nothing is wider than a phone.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { openBrowser, reached } from '../tools/browser.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PANELS = ['reconstruct', 'sample', 'train'];
const PHONE = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true };

let browser;
let without;
before(async () => {
  [browser, without] = await Promise.all([openBrowser(), openBrowser({ webgpu: false })]);
});
after(() => Promise.all([browser.close(), without.close()]));

/** What axe finds, a line each. */
async function findings(page) {
  // Everything that can be unfolded is looked at as well.
  await page.evaluate(() => document.querySelectorAll('details').forEach((one) => (one.open = true)));
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`));
}

for (const colorScheme of ['light', 'dark']) {
  test(`axe-core finds nothing, ${colorScheme}`, async () => {
    const { page, close } = await browser.open({ colorScheme, reducedMotion: 'reduce' });
    await reached(page, 'reconstruct', 'done');
    await page.getByRole('button', { name: 'Draw one' }).click();
    for (const panel of PANELS) {
      await page.locator(`#tab-${panel}`).click();
      assert.deepEqual(await findings(page), [], panel);
    }
    await close();
    const recorded = await without.open({ colorScheme });
    await recorded.page.locator('#recorded article').nth(3).waitFor();
    assert.deepEqual(await findings(recorded.page), [], 'recorded');
    await recorded.close();
  });
}

test('tabs are moved through by arrow keys', async () => {
  const { page, close } = await browser.open();
  // Tabs come into view, and to life, once the device is open.
  await page.locator('#tab-reconstruct').waitFor();
  await page.locator('#tab-reconstruct').focus();
  for (const [key, panel] of [['ArrowRight', 'sample'], ['End', 'train'], ['ArrowRight', 'reconstruct'], ['ArrowLeft', 'train']]) {
    await page.keyboard.press(key);
    assert.equal(await page.locator(`#tab-${panel}`).getAttribute('aria-selected'), 'true');
    assert.equal(await page.evaluate(() => document.activeElement.id), `tab-${panel}`);
    assert.ok(await page.locator(`#${panel}`).isVisible());
    assert.equal(new URL(page.url()).hash, `#${panel}`);
  }
  await close();
});

test('everything that can be used can be reached by the Tab key, in sight', async () => {
  const { page, close } = await browser.open({ reducedMotion: 'reduce' });
  await reached(page, 'reconstruct', 'done');
  const met = new Set();
  for (let presses = 0; presses < 60; presses++) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => {
      const { id, name, textContent } = document.activeElement;
      return id || name || textContent.trim();
    });
    if (presses > 3 && at === '') break;
    met.add(at);
  }
  for (const id of ['tab-reconstruct', 'gallery', 'draw', 'upload', 'iterations', 'noise', 'rerun']) {
    assert.ok(met.has(id), `${id} is not among ${[...met].join(', ')}`);
  }
  await close();
});

test('nothing is wider than a phone', async () => {
  const { page, close } = await browser.open({ ...PHONE, reducedMotion: 'reduce' });
  await reached(page, 'reconstruct', 'done');
  for (const panel of PANELS) {
    await page.locator(`#tab-${panel}`).click();
    const [content, view] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= view, `${panel} is ${content} wide, the phone ${view}`);
  }
  await close();
  const recorded = await without.open(PHONE);
  await recorded.page.locator('#recorded article').nth(3).waitFor();
  const [content, view] = await recorded.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= view, `the recorded page is ${content} wide, the phone ${view}`);
  await recorded.close();
});
