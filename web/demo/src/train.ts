/** The panel *Train*: a density of points in the plane is learned in the page. */

import type { InvertibleModel, ToyName, TrainProgress } from 'iresnet';
import type { About } from './about';
import { lossChart, type Chart, type Line } from './chart';
import { byId, lessMotion, save, showValue } from './dom';
import type { Engine } from './engine';
import { duration, number } from './format';
import { context } from './pictures';
import { Work } from './work';

/** Half the side of the square that is shown, and the cells along a side. */
const EXTENT = 4;
const CELLS = 48;
/** Samples that are shown. */
const SAMPLES = 512;
/** How well they are computed: a pixel is 0.02. */
const SAMPLING = { tolerance: 1e-3, iterations: 50 };
/** Steps between two reports. */
const EVERY = 10;
/**
 * Between two paintings lie at least so many milliseconds, with and without movement, and at least so many times as long
 * as a painting takes: on a slow device, too, most of the time is for learning.
 */
const PAUSE = { moving: 700, calm: 4000, paintings: 4 };
/** A density at which a cell is brightest. */
const BRIGHTEST = 0.25;
/** Colours from no to much density: black over violet and orange to a pale yellow. */
const COLOURS = [
  [4, 4, 20],
  [87, 16, 110],
  [188, 55, 84],
  [249, 142, 9],
  [252, 255, 164],
] as const;

export class Train {
  readonly #engine: Promise<Engine>;
  readonly #about: About;
  readonly #work = new Work('train', 'train-status', 'stop-training');
  readonly #steps = byId('steps', HTMLInputElement);
  readonly #blocks = byId('blocks', HTMLInputElement);
  readonly #toy = byId('toy', HTMLSelectElement);
  readonly #progress = byId('train-progress', HTMLProgressElement);
  /** Changes several times a second, so that it is not read aloud. */
  readonly #numbers = byId('train-numbers', HTMLElement);
  readonly #download = byId('download', HTMLButtonElement);
  readonly #chart: Chart;
  readonly #loss: Line;
  #model: InvertibleModel | undefined;

  constructor(engine: Promise<Engine>, about: About) {
    this.#engine = engine;
    this.#about = about;
    this.#chart = lossChart(byId('loss-chart', HTMLElement));
    this.#loss = this.#chart.line('loss');
    byId('loss-tools', HTMLElement).append(this.#chart.offerNumbers('loss.csv'));
    showValue(this.#steps, (value) => value.toLocaleString('en'));
    showValue(this.#blocks, String);
    byId('start-training', HTMLButtonElement).addEventListener('click', () => void this.run());
    this.#download.addEventListener('click', () => void this.#save());
  }

  /** Training waits for the visitor. */
  begin(): void {}

  /** Learns the chosen pattern from the beginning. */
  run(): Promise<void> {
    return this.#work.start(async (signal) => {
      this.#model?.dispose();
      this.#model = undefined;
      this.#download.disabled = true;
      this.#loss.clear();
      this.#progress.value = 0;
      this.#numbers.textContent = '';
      this.#work.say('Learning …');
      const { train } = await this.#engine;
      signal.throwIfAborted();
      let next = 0;
      let last: TrainProgress | undefined;
      const pause = lessMotion() ? PAUSE.calm : PAUSE.moving;
      const onProgress = async (progress: TrainProgress): Promise<void> => {
        last = progress;
        this.#loss.push(progress.step, progress.loss);
        this.#progress.value = progress.step / progress.steps;
        this.#numbers.textContent = progressText(progress);
        const begun = performance.now();
        if (begun < next) return;
        await this.#paint(progress.model, signal);
        const now = performance.now();
        next = now + Math.max(pause, PAUSE.paintings * (now - begun));
      };
      this.#model = await train({
        data: this.#toy.value as ToyName,
        steps: this.#steps.valueAsNumber,
        blocks: this.#blocks.valueAsNumber,
        every: EVERY,
        onProgress,
        signal,
      });
      await this.#paint(this.#model, signal);
      this.#download.disabled = false;
      if (!last) return;
      const text = `Learned in ${duration(last.milliseconds)} of computing. Loss ${last.loss.toFixed(2)} nats.`;
      this.#chart.describe(text);
      this.#work.say(text);
      this.#about.timing(`${last.steps} steps of training`, last.milliseconds);
    });
  }

  /** Paints density and samples of the model as it is. */
  async #paint(model: InvertibleModel, signal: AbortSignal): Promise<void> {
    const { logProb } = await model.logProb(centres(), { signal });
    paintDensity(byId('density', HTMLCanvasElement), logProb);
    const { data } = await model.sample(SAMPLES, { ...SAMPLING, signal });
    paintPoints(byId('points', HTMLCanvasElement), data);
    const pattern = this.#toy.selectedOptions[0]?.text ?? '';
    byId('density', HTMLCanvasElement).setAttribute('aria-label', `The density learned so far of: ${pattern}`);
    byId('points', HTMLCanvasElement).setAttribute('aria-label', `${SAMPLES} samples of the density learned so far`);
  }

  async #save(): Promise<void> {
    if (!this.#model) return;
    save(new Blob([await this.#model.save()]), `${this.#toy.value}.safetensors`);
  }
}

function progressText({ step, steps, loss, milliseconds }: TrainProgress): string {
  return `Step ${step} of ${steps}, loss ${number(loss)} nats, ${(milliseconds / step).toFixed(0)} ms a step`;
}

/** The centres of the cells, row by row from the top. */
function centres(): Float32Array {
  const out = new Float32Array(2 * CELLS * CELLS);
  const at = (cell: number) => EXTENT * ((2 * cell + 1) / CELLS - 1);
  for (let cell = 0; cell < CELLS * CELLS; cell++) {
    out[2 * cell] = at(cell % CELLS);
    out[2 * cell + 1] = -at(Math.floor(cell / CELLS));
  }
  return out;
}

function paintDensity(canvas: HTMLCanvasElement, logProb: Float32Array): void {
  const image = new ImageData(CELLS, CELLS);
  logProb.forEach((value, cell) => {
    const height = Math.min(Math.sqrt(Math.exp(value) / BRIGHTEST), 1) * (COLOURS.length - 1) || 0;
    const below = Math.min(Math.floor(height), COLOURS.length - 2);
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [COLOURS[below]?.[channel] ?? 0, COLOURS[below + 1]?.[channel] ?? 0];
      image.data[4 * cell + channel] = from + (to - from) * (height - below);
    }
    image.data[4 * cell + 3] = 255;
  });
  context(canvas).putImageData(image, 0, 0);
}

function paintPoints(canvas: HTMLCanvasElement, points: Float32Array): void {
  const into = context(canvas);
  into.clearRect(0, 0, canvas.width, canvas.height);
  into.fillStyle = getComputedStyle(canvas).getPropertyValue('--accent');
  const scale = canvas.width / (2 * EXTENT);
  for (let at = 0; at + 1 < points.length; at += 2) {
    const [x, y] = [points[at] ?? NaN, points[at + 1] ?? NaN];
    into.fillRect((x + EXTENT) * scale - 1.5, (EXTENT - y) * scale - 1.5, 3, 3);
  }
}
