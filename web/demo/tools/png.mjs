// Grey pixels as a PNG, by the browser.

import { chromium } from 'playwright-core';
import { executable } from './browser.mjs';

/** The file's content, of `width`·`height` numbers from 0 to 255. */
export async function drawPng(grey, width, height) {
  const browser = await chromium.launch({ executablePath: executable(), args: ['--no-sandbox'] });
  const page = await browser.newPage();
  const base64 = await page.evaluate(
    ([values, w, h]) => {
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [w, h];
      const pixels = new ImageData(w, h);
      values.forEach((value, at) => pixels.data.set([value, value, value, 255], 4 * at));
      canvas.getContext('2d').putImageData(pixels, 0, 0);
      return canvas.toDataURL().split(',')[1];
    },
    [grey, width, height],
  );
  await browser.close();
  return Buffer.from(base64, 'base64');
}
