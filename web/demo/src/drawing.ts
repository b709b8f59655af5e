/** A sheet to draw on, by pointer or by keyboard. */

import { context, newCanvas, SIDE, type Picture } from './pictures';

/** Width of the pen and length of a step of the keyboard, in pixels of the sheet. */
const PEN = 22;
const STEP = 10;

export class Drawing {
  readonly #canvas: HTMLCanvasElement;
  readonly #into: CanvasRenderingContext2D;
  #at: { x: number; y: number };
  #down = false;

  constructor(canvas: HTMLCanvasElement) {
    this.#canvas = canvas;
    this.#into = context(canvas);
    this.#at = { x: canvas.width / 2, y: canvas.height / 2 };
    this.#into.lineCap = 'round';
    this.#into.lineJoin = 'round';
    this.#into.lineWidth = PEN;
    this.#into.strokeStyle = '#fff';
    this.clear();
    canvas.addEventListener('pointerdown', (event) => this.#press(event));
    canvas.addEventListener('pointermove', (event) => {
      if (this.#down && canvas.hasPointerCapture(event.pointerId)) this.#to(this.#place(event));
    });
    for (const end of ['pointerup', 'pointercancel'] as const) {
      canvas.addEventListener(end, () => {
        this.#down = false;
      });
    }
    canvas.addEventListener('keydown', (event) => this.#key(event));
    this.#label();
  }

  /** An empty sheet. */
  clear(): void {
    this.#into.fillStyle = '#000';
    this.#into.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** What was drawn. */
  picture(): Picture {
    const [canvas, into] = newCanvas(SIDE, SIDE);
    into.imageSmoothingQuality = 'high';
    into.drawImage(this.#canvas, 0, 0, SIDE, SIDE);
    return { name: 'your drawing', canvas };
  }

  #press(event: PointerEvent): void {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#down = true;
    this.#at = this.#place(event);
    this.#to(this.#at);
  }

  #place(event: PointerEvent): { x: number; y: number } {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  #to(place: { x: number; y: number }): void {
    this.#into.beginPath();
    this.#into.moveTo(this.#at.x, this.#at.y);
    this.#into.lineTo(place.x, place.y);
    this.#into.stroke();
    this.#at = place;
  }

  #key(event: KeyboardEvent): void {
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (event.key === ' ') {
      this.#down = !this.#down;
      if (this.#down) this.#to(this.#at);
    } else if (dx || dy) {
      const within = (value: number) => Math.min(Math.max(value, 0), this.#canvas.width);
      const place = { x: within(this.#at.x + STEP * (dx ?? 0)), y: within(this.#at.y + STEP * (dy ?? 0)) };
      if (this.#down) this.#to(place);
      this.#at = place;
    } else {
      return;
    }
    event.preventDefault();
    this.#label();
  }

  /** Where the pen is, for those who do not see it. */
  #label(): void {
    const percent = (value: number) => Math.round((100 * value) / this.#canvas.width);
    const pen = this.#down ? 'pen down' : 'pen up';
    const at = `${percent(this.#at.x)} % across, ${percent(this.#at.y)} % down`;
    this.#canvas.setAttribute('aria-label', `Sheet to draw on: ${pen}, ${at}`);
  }
}
