/** The panel *Reconstruct*: a picture to its code and back, three ways. */

import type { InvertibleModel, Iteration } from 'iresnet';
import type { About } from './about';
import { residualChart, type Chart, type Line } from './chart';
import { byId, lessMotion, make, nextFrame, showValue, whenSettled } from './dom';
import { Drawing } from './drawing';
import { duration, number, percent } from './format';
import type { Models } from './models';
import { CLASSES, Gallery, inputOf, paint, paintCode, readUpload, type Picture } from './pictures';
import { normals } from './random';
import { Work } from './work';

/** The ways back, and what they are called. */
const TRACKS = { picard: 'Fixed-point iteration', anderson: 'Accelerated', twin: 'Unconstrained twin' } as const;
type Track = keyof typeof TRACKS;

/** A change smaller than this ends an iteration. */
const TOLERANCE = 1e-6;
/** A change so large is beyond the chart, and nothing comes back from there: the line ends. */
const LOST = 1e8;
/** Least time between two pictures of an animation, in milliseconds. */
const FRAME = 16;

/** A picture's code, with noise, and how it came about. */
interface Coded {
  readonly x: Float32Array;
  readonly z: Float32Array;
  readonly noisy: Float32Array;
  readonly verdict: string;
}

/** How a way back ended. */
interface Outcome {
  readonly converged: boolean;
  readonly evaluations: number;
  readonly text: string;
}

export class Reconstruct {
  readonly #models: Models;
  readonly #about: About;
  readonly #work = new Work('reconstruct', 'reconstruct-status', 'halt');
  readonly #iterations = byId('iterations', HTMLInputElement);
  readonly #noise = byId('noise', HTMLInputElement);
  readonly #gallery: Gallery;
  readonly #chart: Chart;
  readonly #lines: Record<Track, Line>;
  /** One draw of noise for each length of code: the slider changes its size, not its direction. */
  readonly #draws = new Map<number, Float32Array>();
  #first = true;

  constructor(models: Models, pictures: readonly Picture[], about: About) {
    this.#models = models;
    this.#about = about;
    this.#chart = residualChart(byId('residual-chart', HTMLElement));
    this.#lines = {
      twin: this.#chart.line('twin'),
      picard: this.#chart.line('picard'),
      anderson: this.#chart.line('anderson'),
    };
    byId('residual-tools', HTMLElement).append(this.#chart.offerNumbers('residuals.csv'));
    const run = () => void this.run();
    this.#gallery = new Gallery(byId('gallery', HTMLElement), pictures, pictures.length - 1, run);
    showValue(this.#iterations, String);
    showValue(this.#noise, (value) => value.toFixed(2));
    whenSettled(this.#iterations, run);
    whenSettled(this.#noise, run);
    byId('rerun', HTMLButtonElement).addEventListener('click', run);
    this.#setUpDrawing();
    this.#setUpUpload();
    const details = document.querySelector('#reconstruct details');
    details?.addEventListener('toggle', () => void this.#showCertificates(), { once: true });
  }

  /** The first picture is rebuilt at once. */
  begin(): void {
    void this.run();
  }

  /** Encodes the chosen picture and rebuilds it, by every way. */
  run(): Promise<void> {
    return this.#work.start(async (signal) => {
      const picture = this.#gallery.chosen;
      if (!picture) return;
      this.#reset();
      this.#work.say('Loading the classifier …');
      const model = await this.#models.get('classifier');
      signal.throwIfAborted();
      this.#work.say('Encoding …');
      const coded = await this.#encode(model, picture, signal);
      paint(byId('input-picture', HTMLCanvasElement), model.toPixels(coded.x));
      byId('input-picture', HTMLCanvasElement).setAttribute('aria-label', `What goes in: ${picture.name}`);
      byId('input-result', HTMLElement).textContent = `${picture.name}. ${coded.verdict}`;
      const code = byId('code-picture', HTMLCanvasElement);
      paintCode(code, coded.noisy);
      code.setAttribute('aria-label', 'The code, each number as a grey square');
      byId('code-result', HTMLElement).textContent = `${coded.z.length.toLocaleString('en')} numbers`;

      this.#work.say('Rebuilding the picture from its code …');
      const picard = await this.#follow('picard', model, coded, signal);
      await this.#markFirst();
      const anderson = await this.#follow('anderson', model, coded, signal);
      this.#work.say('Now the unconstrained twin …');
      const twin = await this.#models.get('twin');
      signal.throwIfAborted();
      const twinCoded = await this.#encode(twin, picture, signal);
      const failure = await this.#follow('twin', twin, twinCoded, signal);
      this.#chart.describe(
        `Fixed-point iteration: ${picard.text}. Accelerated: ${anderson.text}. Unconstrained twin: ${failure.text}.`,
      );
      this.#work.say(summary(picard, anderson, failure));
    });
  }

  #reset(): void {
    for (const track of Object.keys(TRACKS) as Track[]) {
      this.#lines[track].clear();
      byId(`${track}-result`, HTMLElement).textContent = '';
    }
    this.#chart.describe('Being computed.');
  }

  async #encode(model: InvertibleModel, picture: Picture, signal: AbortSignal): Promise<Coded> {
    const x = inputOf(model, picture);
    const begun = performance.now();
    const { z, logits } = await model.encode(x, { signal });
    this.#about.timing('A picture encoded', performance.now() - begun);
    const size = this.#noise.valueAsNumber;
    const draw = this.#draws.get(z.length) ?? normals(z.length);
    this.#draws.set(z.length, draw);
    const noisy = size > 0 ? z.map((value, at) => value + size * (draw[at] ?? 0)) : z;
    return { x, z, noisy, verdict: logits ? verdict(logits) : '' };
  }

  /** Decodes one way, showing every step; the answer says how it went. */
  async #follow(track: Track, model: InvertibleModel, coded: Coded, signal: AbortSignal): Promise<Outcome> {
    const canvas = byId(`${track}-picture`, HTMLCanvasElement);
    const result = byId(`${track}-result`, HTMLElement);
    const moving = !lessMotion();
    result.textContent = '…';
    const begun = performance.now();
    let shown = begun;
    let lost = false;
    const onIteration = async ({ total, residual, x }: Iteration): Promise<void> => {
      const change = residual[0] ?? NaN;
      if (!lost) this.#lines[track].push(total, change);
      lost ||= !(change < LOST);
      if (!moving || !x) return;
      paint(canvas, model.toPixels(x));
      if (performance.now() - shown < FRAME) await nextFrame();
      shown = performance.now();
    };
    const decoded = await model.decode(coded.noisy, {
      solver: track === 'anderson' ? 'anderson' : 'picard',
      iterations: this.#iterations.valueAsNumber,
      tolerance: TOLERANCE,
      images: moving,
      onIteration,
      signal,
    });
    const took = performance.now() - begun;
    paint(canvas, model.toPixels(decoded.data));
    const evaluations = decoded.iterations[0] ?? 0;
    const converged = decoded.converged[0] ?? false;
    const error = largestDifference(decoded.data, coded.x);
    const noise = coded.noisy !== coded.z;
    const text = this.#outcome(converged, evaluations, decoded.residual[0] ?? NaN, error, noise);
    result.textContent = text;
    result.dataset['converged'] = String(converged);
    canvas.setAttribute('aria-label', `${TRACKS[track]}: ${text}`);
    this.#about.timing(`${TRACKS[track]}: ${evaluations} evaluations`, took);
    return { converged, evaluations, text };
  }

  /** How a way back went, in words. */
  #outcome(converged: boolean, evaluations: number, residual: number, error: number, noise: boolean): string {
    if (!converged && (residual >= 1e3 || !Number.isFinite(residual))) {
      return `lost: the guesses ran away within ${evaluations} evaluations`;
    }
    const kept = noise ? `off by at most ${number(error)}` : `largest error ${number(error)}`;
    if (!converged) return `not there after ${evaluations} evaluations; ${kept}`;
    return `back after ${evaluations} evaluations; ${kept}`;
  }

  /** Notes when the page's first reconstruction was to be seen. */
  async #markFirst(): Promise<void> {
    if (!this.#first) return;
    this.#first = false;
    await nextFrame();
    performance.mark('first-reconstruction');
    const since = performance.now();
    this.#about.fact('First reconstruction', `${duration(since)} after the page was asked for`);
  }

  async #showCertificates(): Promise<void> {
    const place = byId('certificates', HTMLElement);
    place.textContent = 'Reading what is proved of the models …';
    try {
      const reports = [];
      for (const name of ['classifier', 'twin'] as const) reports.push(await (await this.#models.get(name)).inspect());
      const [own, twin] = reports;
      if (!own || !twin) return;
      const rows = own.blocks.map((block, at) =>
        make(
          'tr',
          {},
          make('th', { scope: 'row' }, `${at + 1}`),
          make('td', {}, block.input.join(' × ')),
          make('td', {}, number(block.lipschitz)),
          make('td', {}, number(twin.blocks[at]?.lipschitz ?? NaN)),
        ),
      );
      const heads = ['Block', 'Input', 'Classifier', 'Twin'].map((text) => make('th', { scope: 'col' }, text));
      place.replaceChildren(
        make(
          'table',
          { class: 'numbers' },
          make('caption', {}, 'How far F stretches distances at most (proved). Below 1 the way back exists and is found.'),
          make('thead', {}, make('tr', {}, ...heads)),
          make('tbody', {}, ...rows),
        ),
      );
    } catch (error) {
      console.error(error);
      place.textContent = 'What is proved of the models could not be read.';
    }
  }

  #setUpDrawing(): void {
    const drawing = new Drawing(byId('pad', HTMLCanvasElement));
    const place = byId('drawing', HTMLElement);
    const open = byId('draw', HTMLButtonElement);
    open.addEventListener('click', () => {
      place.hidden = !place.hidden;
      open.setAttribute('aria-expanded', String(!place.hidden));
      if (!place.hidden) byId('pad', HTMLCanvasElement).focus({ preventScroll: true });
    });
    byId('clear-drawing', HTMLButtonElement).addEventListener('click', () => drawing.clear());
    byId('use-drawing', HTMLButtonElement).addEventListener('click', () => this.#gallery.addOwn(drawing.picture()));
  }

  #setUpUpload(): void {
    const input = byId('upload', HTMLInputElement);
    input.addEventListener('change', async () => {
      const file = input.files?.[0];
      // The same file may be chosen again.
      input.value = '';
      if (!file) return;
      try {
        this.#gallery.addOwn(await readUpload(file));
      } catch {
        this.#work.say(`${file.name} cannot be read as a picture. PNG, JPEG and WebP files can.`);
      }
    });
  }
}

/** All three in a sentence or two. */
function summary(picard: Outcome, anderson: Outcome, twin: Outcome): string {
  const own =
    picard.converged && anderson.converged
      ? `The way back was found in ${picard.evaluations} evaluations, accelerated in ${anderson.evaluations}.`
      : 'Too few iterations to get all the way back.';
  return `${own} The twin ${twin.converged ? 'found its way, too, this time' : 'did not find its way back'}.`;
}

/** The class with the highest score, with its probability. */
function verdict(logits: Float32Array): string {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Array.from(logits, (logit) => Math.exp(logit - highest));
  const sum = weights.reduce((a, b) => a + b, 0);
  const best = logits.indexOf(highest);
  return `Seen as: ${CLASSES[best] ?? `class ${best}`} (${percent(1 / sum)})`;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((largest, value, at) => {
    const difference = Math.abs(value - (b[at] ?? 0));
    return Number.isNaN(difference) ? Infinity : Math.max(largest, difference);
  }, 0);
}
