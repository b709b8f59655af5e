/** Access to the page's elements: what is missing or of another type is a mistake of ours, and says so. */

/** The element with this id. */
export function byId<T extends Element>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
  return found;
}

/** A new element with attributes and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Offers the visitor a file to keep. */
export function save(content: Blob, name: string): void {
  const url = URL.createObjectURL(content);
  make('a', { href: url, download: name }).click();
  // Browsers read the address after the click has been handled.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Shows a slider's value beside it, now and whenever it changes. */
export function showValue(slider: HTMLInputElement, text: (value: number) => string): void {
  const output = slider.parentElement?.querySelector('output');
  const show = () => {
    if (output) output.value = text(slider.valueAsNumber);
  };
  slider.addEventListener('input', show);
  show();
}

/** Calls `then` when `element` has not changed for a moment, so that a slider's way does not start a run at each step. */
export function whenSettled(element: HTMLElement, then: () => void): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  element.addEventListener('input', () => {
    clearTimeout(timer);
    timer = setTimeout(then, 250);
  });
}

/** Whether the visitor asked their system for less movement. */
export function lessMotion(): boolean {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}

/** The next time the browser paints; at once-ish in a hidden tab, which never paints. */
export function nextFrame(): Promise<void> {
  return new Promise((resolve) => {
    if (document.hidden) setTimeout(resolve, 16);
    else requestAnimationFrame(() => resolve());
  });
}
