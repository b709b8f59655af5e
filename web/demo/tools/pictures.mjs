// Writes public/images/fashion.png: the first test image of each class of the part of Fashion-MNIST that is in this
// repository (assets/fashion-mnist-mini, MIT), side by side.
//
//     node tools/pictures.mjs

import { readFile, writeFile } from 'node:fs/promises';
import { gunzipSync } from 'node:zlib';
import { drawPng } from './png.mjs';

const SIDE = 28;
const CLASSES = 10;

const read = async (name, header) => {
  const path = new URL(`../../../assets/fashion-mnist-mini/${name}.gz`, import.meta.url);
  return gunzipSync(await readFile(path)).subarray(header);
};
const images = await read('t10k-images-idx3-ubyte', 16);
const labels = await read('t10k-labels-idx1-ubyte', 8);
const width = CLASSES * SIDE;
const grey = new Array(width * SIDE);
for (let label = 0; label < CLASSES; label++) {
  const image = images.subarray(labels.indexOf(label) * SIDE * SIDE);
  for (let pixel = 0; pixel < SIDE * SIDE; pixel++) {
    grey[Math.floor(pixel / SIDE) * width + label * SIDE + (pixel % SIDE)] = image[pixel];
  }
}
await writeFile(new URL('../public/images/fashion.png', import.meta.url), await drawPng(grey, width, SIDE));
