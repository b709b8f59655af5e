// Takes the pictures of the page that are in the README: docs/images/web-PANEL-WIDTH.png.
//
//     npm run build && node tools/screenshots.mjs [desktop] [phone]

import { fileURLToPath } from 'node:url';
import { openBrowser, reached, slide } from './browser.mjs';

const into = fileURLToPath(new URL('../../../docs/images/', import.meta.url));
const SIZES = {
  desktop: { viewport: { width: 1040, height: 900 } },
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true, colorScheme: 'dark' },
};

const browser = await openBrowser();
const asked = process.argv.slice(2);
for (const [size, options] of Object.entries(SIZES)) {
  if (asked.length > 0 && !asked.includes(size)) continue;
  const { page, close } = await browser.open({ ...options, reducedMotion: 'reduce' });
  const shoot = async (panel) => {
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: `${into}web-${panel}-${size}.png`, fullPage: true });
    console.log(`web-${panel}-${size}.png`);
  };
  await reached(page, 'reconstruct', 'done');
  await shoot('reconstruct');

  await page.locator('#tab-sample').click();
  await reached(page, 'sample', 'done');
  await page.getByRole('button', { name: 'Show the way' }).click();
  await reached(page, 'way', 'done');
  await shoot('sample');

  await page.locator('#tab-train').click();
  await slide(page, 'steps', 100);
  await slide(page, 'blocks', 4);
  await page.getByRole('button', { name: 'Train', exact: true }).click();
  await reached(page, 'train', 'done', 600_000);
  await shoot('train');
  await close();

  const without = await openBrowser({ webgpu: false });
  const recorded = await without.open(options);
  await recorded.page.locator('#recorded article').nth(3).waitFor();
  await recorded.page.evaluate(() => document.querySelectorAll('img').forEach((image) => (image.loading = 'eager')));
  await recorded.page.waitForLoadState('networkidle');
  await recorded.page.screenshot({ path: `${into}web-recorded-${size}.png`, fullPage: true });
  await without.close();
}
await browser.close();
