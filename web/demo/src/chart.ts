/** A line chart that grows: lines over counted steps, on a linear or a logarithmic scale. */

import { make, save } from './dom';
import { number, powerOfTen } from './format';

const SVG = 'http://www.w3.org/2000/svg';
const MARGIN = { left: 48, right: 10, top: 8, bottom: 34 };

export interface ChartOptions {
  /** What a screen reader calls it. */
  readonly label: string;
  /** Below the horizontal axis. */
  readonly across: string;
  /** Logarithmic, within these powers of ten; otherwise linear, as high as the data. */
  readonly powers?: readonly [number, number];
}

/** One line of a chart. */
export interface Line {
  /** Adds a point. What is beyond a logarithmic scale is drawn at its edge. */
  push(x: number, y: number): void;
  /** Takes all its points away. */
  clear(): void;
}

/** The chart of a way back: how much the picture still changes. What runs away is drawn at its upper edge. */
export function residualChart(place: HTMLElement): Chart {
  const label = 'Change of the picture at each step';
  return new Chart(place, { label, across: 'evaluations of F, over all blocks', powers: [-8, 8] });
}

/** The chart of a training. */
export function lossChart(place: HTMLElement): Chart {
  return new Chart(place, { label: 'Loss', across: 'steps' });
}

/** The points of one line, and the element that shows them. */
interface Drawn {
  readonly name: string;
  readonly xs: number[];
  readonly ys: number[];
  readonly element: SVGPolylineElement;
}

function svg<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Record<string, string | number>,
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}

/** Steps of 1, 2 or 5 times a power of ten, about `count` of them in `range`. */
function niceStep(range: number, count: number): number {
  const raw = range / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10;
  return step * power;
}

export class Chart {
  readonly #options: ChartOptions;
  readonly #root: SVGSVGElement;
  readonly #axes = svg('g', { 'aria-hidden': 'true' });
  readonly #lines: Drawn[] = [];
  #width = 600;
  #height = 240;
  #pending = false;

  constructor(place: HTMLElement, options: ChartOptions) {
    this.#options = options;
    this.#root = svg('svg', { role: 'img', 'aria-label': `${options.label}. Nothing yet.` });
    this.#root.append(this.#axes);
    place.append(this.#root);
    new ResizeObserver(([entry]) => {
      const box = entry?.contentRect;
      if (!box || box.width < 1 || box.height < 1) return;
      this.#width = box.width;
      this.#height = box.height;
      this.#drawSoon();
    }).observe(this.#root);
    this.#drawSoon();
  }

  /** A new line; `name` is its class, which has its colour. */
  line(name: string): Line {
    const drawn: Drawn = { name, xs: [], ys: [], element: svg('polyline', { class: name }) };
    this.#root.append(drawn.element);
    this.#lines.push(drawn);
    return {
      push: (x, y) => {
        drawn.xs.push(x);
        drawn.ys.push(y);
        this.#drawSoon();
      },
      clear: () => {
        drawn.xs.length = 0;
        drawn.ys.length = 0;
        this.#drawSoon();
      },
    };
  }

  /** A button with which the visitor gets the chart's numbers as a file. */
  offerNumbers(file: string): HTMLButtonElement {
    const button = make('button', { type: 'button' }, 'Save the numbers');
    button.addEventListener('click', () => save(new Blob([this.#csv()], { type: 'text/csv' }), file));
    return button;
  }

  /** All points: a row for each, with its line's name. */
  #csv(): string {
    const rows = this.#lines.flatMap(({ name, xs, ys }) => xs.map((x, at) => `${name},${x},${ys[at]?.toPrecision(6)}`));
    return ['line,x,y', ...rows, ''].join('\n');
  }

  /** Adds the points that {@link offerNumbers} wrote, to lines that exist. */
  readNumbers(csv: string): void {
    for (const row of csv.trim().split('\n').slice(1)) {
      const [name, x, y] = row.split(',');
      const line = this.#lines.find((one) => one.name === name);
      line?.xs.push(Number(x));
      line?.ys.push(Number(y));
    }
    this.#drawSoon();
  }

  /** What a screen reader says of the chart's content. */
  describe(text: string): void {
    this.#root.setAttribute('aria-label', `${this.#options.label}. ${text}`);
  }

  #drawSoon(): void {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#draw();
    });
  }

  #draw(): void {
    const { left, right, top, bottom } = MARGIN;
    const width = Math.max(this.#width - left - right, 1);
    const height = Math.max(this.#height - top - bottom, 1);
    this.#root.setAttribute('viewBox', `0 0 ${this.#width} ${this.#height}`);
    const last = Math.max(10, ...this.#lines.map((line) => line.xs.at(-1) ?? 0));
    const x = (value: number) => left + (width * value) / last;
    const [low, high, ticks] = this.#vertical();
    // What is no number has left the chart above.
    const within = (value: number) => (Number.isNaN(value) ? high : Math.min(Math.max(value, low), high));
    const share = (value: number) => (within(value) - low) / (high - low);
    const y = (value: number) => top + height * (1 - share(value));

    this.#axes.replaceChildren();
    for (const [value, text] of ticks) {
      this.#axes.append(svg('line', { class: 'grid-line', x1: left, x2: left + width, y1: y(value), y2: y(value) }));
      const label = svg('text', { x: left - 6, y: y(value) + 4, 'text-anchor': 'end' });
      label.textContent = text;
      this.#axes.append(label);
    }
    const step = niceStep(last, width < 400 ? 4 : 8);
    for (let at = 0; at <= last; at += step) {
      // The last label must not stick out.
      const anchor = last - at < step / 4 ? 'end' : 'middle';
      const label = svg('text', { x: x(at), y: top + height + 16, 'text-anchor': anchor });
      label.textContent = String(at);
      this.#axes.append(label);
    }
    const across = svg('text', { x: left + width / 2, y: top + height + 31, 'text-anchor': 'middle' });
    across.textContent = this.#options.across;
    this.#axes.append(across);

    const log = this.#options.powers !== undefined;
    for (const { xs, ys, element } of this.#lines) {
      const place = (value: number) => (log ? Math.log10(Math.max(value, 1e-30)) : value);
      const points = xs.map((value, at) => `${x(value).toFixed(1)},${y(place(ys[at] ?? 0)).toFixed(1)}`);
      element.setAttribute('points', points.join(' '));
    }
  }

  /** Lowest and highest value of the vertical scale, and its labelled values. */
  #vertical(): [number, number, [number, string][]] {
    if (this.#options.powers) {
      const [low, high] = this.#options.powers;
      const ticks: [number, string][] = [];
      for (let power = low; power <= high; power += 2) ticks.push([power, powerOfTen(power)]);
      return [low, high, ticks];
    }
    const values = this.#lines.flatMap((line) => line.ys).filter(Number.isFinite);
    if (values.length === 0) return [0, 1, [[0, '0'], [1, '1']]];
    let low = values.reduce((a, b) => Math.min(a, b));
    let high = values.reduce((a, b) => Math.max(a, b));
    if (high - low < 1e-6) high = low + 1;
    const step = niceStep(high - low, 4);
    low = Math.floor(low / step) * step;
    high = Math.ceil(high / step) * step;
    const ticks: [number, string][] = [];
    for (let value = low; value <= high + step / 2; value += step) ticks.push([value, number(Number(value.toFixed(6)))]);
    return [low, high, ticks];
  }
}
