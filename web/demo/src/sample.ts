/** The panel *Sample*: pictures from noise, and the way from one picture to another. */

import type { InvertibleModel, Iteration } from 'iresnet';
import type { About } from './about';
import { byId, lessMotion, nextFrame, showValue } from './dom';
import { duration } from './format';
import type { Models } from './models';
import { Gallery, inputOf, paintGrid, type Picture } from './pictures';
import { Work } from './work';

/** Samples of a grid, and of one of its rows. */
const COUNT = 16;
const COLUMNS = 4;
/** Pictures of a way, with both ends. */
const WAY = 8;
/** Enough to look at: a hundred-thousandth of the range of brightness. */
const TOLERANCE = 1e-5;
/** Least time between two pictures of an animation, in milliseconds. */
const FRAME = 100;

export class Sample {
  readonly #models: Models;
  readonly #about: About;
  readonly #work = new Work('sample', 'sample-status');
  readonly #way = new Work('way', 'way-status');
  readonly #temperature = byId('temperature', HTMLInputElement);
  readonly #seed = byId('seed', HTMLInputElement);
  readonly #from: Gallery;
  readonly #to: Gallery;

  constructor(models: Models, pictures: readonly Picture[], about: About) {
    this.#models = models;
    this.#about = about;
    showValue(this.#temperature, (value) => value.toFixed(2));
    const ignore = () => {};
    this.#from = new Gallery(byId('from-gallery', HTMLElement), pictures, 1, ignore);
    this.#to = new Gallery(byId('to-gallery', HTMLElement), pictures, pictures.length - 1, ignore);
    byId('draw-samples', HTMLButtonElement).addEventListener('click', () => void this.draw());
    byId('interpolate', HTMLButtonElement).addEventListener('click', () => void this.interpolate());
    byId('other-seed', HTMLButtonElement).addEventListener('click', () => {
      this.#seed.value = String(Math.floor(Math.random() * 1e6));
      void this.draw();
    });
  }

  /** There is something to see at once. */
  begin(): void {
    void this.draw();
  }

  /** Draws a grid of samples. */
  draw(): Promise<void> {
    return this.#work.start(async (signal) => {
      this.#work.say('Loading the density …');
      const model = await this.#models.get('density');
      signal.throwIfAborted();
      const [seed, temperature] = [this.#wholeSeed(), this.#temperature.valueAsNumber];
      const canvas = byId('sample-grid', HTMLCanvasElement);
      this.#work.say('Noise is sent backwards through the network …');
      const begun = performance.now();
      const { data, iterations, converged } = await model.sample(COUNT, {
        seed,
        temperature,
        tolerance: TOLERANCE,
        signal,
        ...this.#animation(model, canvas, COLUMNS),
      });
      const took = performance.now() - begun;
      paintGrid(canvas, model, data, COLUMNS);
      canvas.setAttribute('aria-label', `${COUNT} samples in ${COLUMNS} columns, seed ${seed}`);
      this.#work.say(`${COUNT} samples in ${duration(took)}. ${effort(iterations, converged)}`);
      this.#about.timing(`${COUNT} samples drawn`, took);
    });
  }

  /** Decodes the straight line between the codes of two pictures. */
  interpolate(): Promise<void> {
    return this.#way.start(async (signal) => {
      const [from, to] = [this.#from.chosen, this.#to.chosen];
      if (!from || !to) return;
      this.#way.say('Encoding both …');
      const model = await this.#models.get('density');
      signal.throwIfAborted();
      const begun = performance.now();
      const both = new Float32Array(2 * model.inputLength);
      both.set(inputOf(model, from));
      both.set(inputOf(model, to), model.inputLength);
      const { z, width } = await model.encode(both, { signal });
      const canvas = byId('way', HTMLCanvasElement);
      this.#way.say('Decoding what lies between …');
      const { data, iterations, converged } = await model.decode(between(z, width), {
        tolerance: TOLERANCE,
        signal,
        ...this.#animation(model, canvas, WAY),
      });
      const took = performance.now() - begun;
      paintGrid(canvas, model, data, WAY);
      canvas.setAttribute('aria-label', `${WAY} pictures, from ${from.name} to ${to.name}`);
      this.#way.say(`From ${from.name} to ${to.name} in ${duration(took)}. ${effort(iterations, converged)}`);
      this.#about.timing(`The way between two pictures`, took);
    });
  }

  /** Shows the iterates on the canvas as they come, unless the visitor wants less movement. */
  #animation(model: InvertibleModel, canvas: HTMLCanvasElement, columns: number) {
    if (lessMotion()) return {};
    let shown = 0;
    const onIteration = async ({ x }: Iteration): Promise<void> => {
      if (!x || performance.now() - shown < FRAME) return;
      shown = performance.now();
      paintGrid(canvas, model, x, columns);
      await nextFrame();
    };
    return { images: true, onIteration };
  }

  /** The seed as the package takes it; the field shows what was made of nonsense. */
  #wholeSeed(): number {
    const seed = Math.min(Math.max(Math.floor(this.#seed.valueAsNumber) || 0, 0), 999_999);
    this.#seed.value = String(seed);
    return seed;
  }
}

/** WAY codes on the line between two. */
function between(ends: Float32Array, width: number): Float32Array {
  const out = new Float32Array(WAY * width);
  for (let at = 0; at < out.length; at++) {
    const share = Math.floor(at / width) / (WAY - 1);
    const [from, to] = [ends[at % width] ?? 0, ends[width + (at % width)] ?? 0];
    out[at] = (1 - share) * from + share * to;
  }
  return out;
}

/** How much work it was. */
function effort(iterations: Float32Array, converged: readonly boolean[]): string {
  const most = iterations.reduce((a, b) => Math.max(a, b), 0);
  const lost = converged.filter((one) => !one).length;
  return `At most ${most} evaluations each${lost ? `; ${lost} did not converge` : ''}.`;
}
