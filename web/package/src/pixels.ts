import type { Config } from './header.js';
import { check } from './errors.js';
import type { Pixels } from './types.js';

/** Means and deviations with which classifiers of these sets are published. */
const MOMENTS: Record<string, readonly [readonly number[], readonly number[]]> = {
  cifar10: [
    [0.4914, 0.4822, 0.4465],
    [0.2023, 0.1994, 0.201],
  ],
  cifar100: [
    [0.5071, 0.4867, 0.4408],
    [0.2675, 0.2565, 0.2761],
  ],
};

/** How numbers in [0, 1] and the numbers of a model go together. */
function scale({ model, data }: Config): readonly [readonly number[], readonly number[]] {
  const moments = model.kind === 'classifier' && data.normalize ? MOMENTS[data.name] : undefined;
  return moments ?? [
    [0.5, 0.5, 0.5],
    [1, 1, 1],
  ];
}

function imageShape(config: Config): readonly [number, number, number] {
  const [channels = 0, height = 0, width = 0] = config.model.input;
  check(config.model.input.length === 3 && (channels === 1 || channels === 3), 'this model is not one of images');
  return [channels, height, width];
}

/** RGBA pixels as a model's sample; a model of one channel takes the luminance. */
export function fromPixels(
  config: Config,
  pixels: { readonly data: ArrayLike<number>; readonly width: number; readonly height: number },
): Float32Array {
  const [channels, height, width] = imageShape(config);
  check(
    pixels.width === width && pixels.height === height && pixels.data.length === 4 * width * height,
    `pixels of ${pixels.width}×${pixels.height} do not fit a model of ${width}×${height}`,
  );
  const [mean, deviation] = scale(config);
  const { kind } = config.model;
  const levels = 2 ** config.data.bits;
  // Densities are of levels with noise: half a level is its mean.
  const noisy = config.data.dequantize || kind === 'density' || kind === 'hybrid';
  const number = (byte: number, channel: number) => {
    const level = Math.floor((byte * levels) / 256);
    const value = noisy ? (level + 0.5) / levels : level / (levels - 1);
    return (value - mean[channel]!) / deviation[channel]!;
  };
  const area = width * height;
  const x = new Float32Array(channels * area);
  for (let pixel = 0; pixel < area; pixel += 1) {
    const [r, g, b] = [0, 1, 2].map((channel) => pixels.data[4 * pixel + channel] ?? 0) as [number, number, number];
    if (channels === 1) x[pixel] = number(Math.round(0.299 * r + 0.587 * g + 0.114 * b), 0);
    else [r, g, b].forEach((byte, channel) => (x[channel * area + pixel] = number(byte, channel)));
  }
  return x;
}

/** A model's sample as RGBA pixels. */
export function toPixels(config: Config, x: Float32Array, index: number): Pixels {
  const [channels, height, width] = imageShape(config);
  const area = width * height;
  const first = index * channels * area;
  check(Number.isSafeInteger(index) && index >= 0 && first + channels * area <= x.length, `there is no sample ${index}`);
  const [mean, deviation] = scale(config);
  const data = new Uint8ClampedArray(4 * area);
  for (let pixel = 0; pixel < area; pixel += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const from = channels === 1 ? 0 : channel;
      const value = x[first + from * area + pixel]! * deviation[from]! + mean[from]!;
      data[4 * pixel + channel] = Math.floor(256 * value);
    }
    data[4 * pixel + 3] = 255;
  }
  return { data, width, height };
}
