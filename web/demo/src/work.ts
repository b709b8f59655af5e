/** One piece of work at a time in a panel: a new one ends the one before. */

import { byId } from './dom';

/** What a panel does at present, as its `data-state` says. */
export type State = 'idle' | 'running' | 'done' | 'stopped' | 'failed';

export class Work {
  readonly #panel: HTMLElement;
  readonly #status: HTMLElement;
  readonly #stop: HTMLButtonElement | undefined;
  #controller: AbortController | undefined;
  #last: Promise<void> = Promise.resolve();

  /** Of the panel (or part of it) `panel`; messages go to `status`, the button `stop` ends it. */
  constructor(panel: string, status: string, stop?: string) {
    this.#panel = byId(panel, HTMLElement);
    this.#status = byId(status, HTMLElement);
    this.#stop = stop === undefined ? undefined : byId(stop, HTMLButtonElement);
    this.#stop?.addEventListener('click', () => this.stop());
  }

  /** Whether something is being done. */
  get running(): boolean {
    return this.#controller !== undefined;
  }

  /** Tells the visitor, aloud too. */
  say(text: string): void {
    if (this.#status.textContent !== text) this.#status.textContent = text;
  }

  /** Ends what is being done. */
  stop(): void {
    this.#controller?.abort();
  }

  /** Does `task` after what is being done has ended, which it is asked to do at once. */
  start(task: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.stop();
    const controller = new AbortController();
    this.#controller = controller;
    this.#show('running');
    this.#last = this.#last.then(async () => {
      let state: State = 'done';
      try {
        controller.signal.throwIfAborted();
        await task(controller.signal);
      } catch (error) {
        state = controller.signal.aborted ? 'stopped' : 'failed';
        if (state === 'failed') {
          console.error(error);
          this.say(`That failed: ${describe(error)}`);
        } else if (this.#controller === controller) {
          this.say('Stopped.');
        }
      }
      // A newer piece of work shows its own state.
      if (this.#controller !== controller) return;
      this.#controller = undefined;
      this.#show(state);
    });
    return this.#last;
  }

  #show(state: State): void {
    this.#panel.dataset['state'] = state;
    this.#panel.setAttribute('aria-busy', String(state === 'running'));
    if (this.#stop) this.#stop.disabled = state !== 'running';
  }
}

/** An error in words, with its code if it has one. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? ` (${error.code})` : '';
  return `${error.message}${code}`;
}
