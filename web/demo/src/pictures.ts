/** Pictures that can be chosen, and what a network gets of them. */

import type { InvertibleModel, Pixels } from 'iresnet';
import { make } from './dom';

/** Side of the pictures of Fashion-MNIST. */
export const SIDE = 28;

/** The classes of Fashion-MNIST, in order. */
export const CLASSES = [
  'T-shirt',
  'trousers',
  'pullover',
  'dress',
  'coat',
  'sandal',
  'shirt',
  'sneaker',
  'bag',
  'ankle boot',
] as const;

/** A grey picture of 28×28. */
export interface Picture {
  readonly name: string;
  readonly canvas: HTMLCanvasElement;
}

/** An empty canvas and its context. */
export function newCanvas(width: number, height: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = make('canvas', { width: String(width), height: String(height) });
  return [canvas, context(canvas)];
}

/** A canvas's context. */
export function context(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const found = canvas.getContext('2d', { willReadFrequently: true });
  if (!found) throw new Error('this browser cannot draw on a canvas');
  return found;
}

/** The test images that come with the page: one of each class, side by side in one file. */
export async function loadPictures(): Promise<Picture[]> {
  const image = new Image();
  image.src = new URL('images/fashion.png', document.baseURI).href;
  await image.decode();
  const count = Math.floor(image.width / SIDE);
  return Array.from({ length: count }, (_, at) => {
    const [canvas, into] = newCanvas(SIDE, SIDE);
    into.drawImage(image, -at * SIDE, 0);
    return { name: CLASSES[at] ?? `picture ${at + 1}`, canvas };
  });
}

/** A file of the visitor's, as the network knows pictures: grey, bright on black, its middle square. */
export async function readUpload(file: File): Promise<Picture> {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height);
  const [canvas, into] = newCanvas(SIDE, SIDE);
  into.imageSmoothingQuality = 'high';
  const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  into.drawImage(bitmap, left, top, side, side, 0, 0, SIDE, SIDE);
  bitmap.close();
  const pixels = into.getImageData(0, 0, SIDE, SIDE);
  if (edgeIsBright(pixels)) {
    for (let at = 0; at < pixels.data.length; at++) if (at % 4 !== 3) pixels.data[at] = 255 - (pixels.data[at] ?? 0);
    into.putImageData(pixels, 0, 0);
  }
  return { name: file.name, canvas };
}

/** Whether a picture's border is bright on average: then it is a thing on a light ground, the negative of what is known. */
function edgeIsBright({ data, width, height }: ImageData): boolean {
  let sum = 0;
  let count = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (x > 0 && y > 0 && x < width - 1 && y < height - 1) continue;
      sum += data[4 * (y * width + x)] ?? 0;
      count += 1;
    }
  }
  return sum / count > 128;
}

/** A picture as the model's input: padded with black to 32×32, and halved by averaging for models of 16×16. */
export function inputOf(model: InvertibleModel, picture: Picture): Float32Array {
  const [canvas, into] = newCanvas(32, 32);
  into.fillRect(0, 0, 32, 32);
  into.drawImage(picture.canvas, 2, 2);
  const padded = into.getImageData(0, 0, canvas.width, canvas.height);
  return model.fromPixels(model.inputShape.at(-1) === 16 ? halved(padded) : padded);
}

function halved(from: ImageData): ImageData {
  const [width, height] = [from.width / 2, from.height / 2];
  const into = new ImageData(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let channel = 0; channel < 4; channel++) {
        const at = (dy: number, dx: number) => from.data[4 * ((2 * y + dy) * from.width + 2 * x + dx) + channel] ?? 0;
        into.data[4 * (y * width + x) + channel] = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4;
      }
    }
  }
  return into;
}

/** Shows pixels on a canvas, which takes their size. */
export function paint(canvas: HTMLCanvasElement, { data, width, height }: Pixels): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  context(canvas).putImageData(new ImageData(data, width, height), 0, 0);
}

/** Shows all samples of `x` on a canvas, row by row. */
export function paintGrid(canvas: HTMLCanvasElement, model: InvertibleModel, x: Float32Array, columns: number): void {
  const count = x.length / model.inputLength;
  for (let at = 0; at < count; at++) {
    const { data, width, height } = model.toPixels(x, at);
    if (at === 0) {
      const [wide, high] = [columns * width, Math.ceil(count / columns) * height];
      if (canvas.width !== wide) canvas.width = wide;
      if (canvas.height !== high) canvas.height = high;
    }
    const [left, top] = [(at % columns) * width, Math.floor(at / columns) * height];
    context(canvas).putImageData(new ImageData(data, width, height), left, top);
  }
}

/** Shows a code as grey squares, from dark (−2) to bright (2). */
export function paintCode(canvas: HTMLCanvasElement, z: Float32Array): void {
  const side = Math.ceil(Math.sqrt(z.length));
  const pixels = new ImageData(side, side);
  z.forEach((value, at) => pixels.data.fill(((value + 2) / 4) * 255, 4 * at, 4 * at + 3));
  for (let at = 3; at < pixels.data.length; at += 4) pixels.data[at] = 255;
  paint(canvas, pixels);
}

/** Radio buttons with pictures on them. */
export class Gallery {
  readonly #place: HTMLElement;
  readonly #name: string;
  readonly #onChoose: (picture: Picture) => void;
  #chosen: Picture | undefined;

  constructor(place: HTMLElement, pictures: readonly Picture[], first: number, onChoose: (picture: Picture) => void) {
    this.#place = place;
    this.#name = place.id;
    this.#onChoose = onChoose;
    pictures.forEach((picture, at) => this.#append(picture, at === first));
  }

  /** The picture that is chosen. */
  get chosen(): Picture | undefined {
    return this.#chosen;
  }

  /** Adds one of the visitor's own pictures, in place of the last one, and chooses it. */
  addOwn(picture: Picture): void {
    this.#place.querySelector('[data-own]')?.remove();
    this.#append(picture, true).dataset['own'] = '';
    this.#onChoose(picture);
  }

  #append(picture: Picture, chosen: boolean): HTMLElement {
    const input = make('input', { type: 'radio', name: this.#name, 'aria-label': picture.name });
    input.checked = chosen;
    if (chosen) this.#chosen = picture;
    input.addEventListener('change', () => {
      this.#chosen = picture;
      this.#onChoose(picture);
    });
    const [canvas, into] = newCanvas(SIDE, SIDE);
    into.drawImage(picture.canvas, 0, 0);
    canvas.className = 'picture';
    canvas.setAttribute('aria-hidden', 'true');
    const label = make('label', { title: picture.name }, canvas, input);
    this.#place.append(label);
    return label;
  }
}
