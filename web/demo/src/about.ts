/** What the page runs on, and how long things took. */

import type { AdapterSummary, Runtime } from 'iresnet';
import { byId, make } from './dom';
import { bytes, duration } from './format';

/** Rows of the table of timings. */
const ROWS = 14;

export class About {
  readonly #facts = byId('machine', HTMLElement);
  readonly #timings = byId('timings', HTMLTableSectionElement);
  #runtime: Runtime | undefined;

  /** From now on the runtime's facts are shown. */
  attach(runtime: Runtime): void {
    this.#runtime = runtime;
    this.fact('Adapter', adapterName(runtime.adapter));
    this.fact('Backend', `${runtime.backend === 'webgpu' ? 'WebGPU' : runtime.backend}, in a worker`);
    void this.refresh();
  }

  /** Shows the memory in use now. */
  async refresh(): Promise<void> {
    if (!this.#runtime) return;
    const memory = await this.#runtime.memory();
    this.fact('Memory on the device', `${bytes(memory.gpuBytes)} in ${memory.gpuBuffers} buffers`);
    this.fact('Memory of the module', bytes(memory.wasmBytes));
  }

  /** Shows a fact, in place of what was shown under this name. */
  fact(name: string, value: string): void {
    const key = name.toLowerCase().replaceAll(' ', '-');
    const found = this.#facts.querySelector(`[data-fact="${key}"] dd`);
    if (found) found.textContent = value;
    else this.#facts.append(make('div', { 'data-fact': key }, make('dt', {}, name), make('dd', {}, value)));
  }

  /** Adds a line to the timings. */
  timing(what: string, milliseconds: number): void {
    const row = make('tr', {}, make('td', {}, what), make('td', {}, duration(milliseconds)));
    this.#timings.prepend(row);
    byId('timings-part', HTMLElement).hidden = false;
    while (this.#timings.rows.length > ROWS) this.#timings.deleteRow(-1);
    void this.refresh();
  }
}

/** An adapter in words. */
export function adapterName(adapter: AdapterSummary): string {
  const name = [adapter.description || adapter.device, adapter.vendor, adapter.architecture].filter(Boolean).join(', ');
  return `${name || 'unnamed'}${adapter.fallback ? ' (computes on the processor, slow)' : ''}`;
}
