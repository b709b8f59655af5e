import { detect, loadModule, openDevice, wasmBytes, type Opened } from './device.js';
import { IResNetError, fail } from './errors.js';
import type { AdapterSummary, InitOptions, MemoryUse, Runtime, RuntimeEventMap } from './types.js';

export { detect };

/** What lives on the device, and is made anew on another. */
export interface Resident {
  /** The device is gone: nothing of it may be touched any more. */
  lose(): void;
  dispose(): void;
}

let current: Promise<Host> | undefined;

/**
 * Loads the module and opens a device, once: further calls give the same runtime until that is disposed of.
 *
 * @throws {@link IResNetError} `NO_WEBGPU`, `NO_ADAPTER` or `WASM`
 */
export function init(options: InitOptions = {}): Promise<Runtime> {
  return host(options);
}

/** The runtime as the rest of the package knows it. */
export function host(options: InitOptions = {}): Promise<Host> {
  current ??= start(options).catch((error: unknown) => {
    current = undefined;
    throw error;
  });
  return current;
}

async function start(options: InitOptions): Promise<Host> {
  // The adapter first: without one there is no need to load anything.
  const [opened] = await Promise.all([loadModule(options.wasm).then(() => openDevice(options)), loadModule(options.wasm)]);
  return new Host(options, opened);
}

/** The open device, and all that lives on it. */
export class Host implements Runtime {
  readonly backend = 'webgpu';
  readonly external: boolean;
  readonly residents = new Set<Resident>();
  /** How many devices there have been: what belongs to another one is gone. */
  generation = 0;
  disposed = false;
  #events = new EventTarget();
  #options: InitOptions;
  #opened: Opened;
  #reopening: Promise<void> | undefined;
  #gone: IResNetError | undefined;

  constructor(options: InitOptions, opened: Opened) {
    this.#options = options;
    this.#opened = opened;
    this.external = options.device !== undefined;
    this.#watch(opened);
  }

  get adapter(): AdapterSummary {
    return this.#opened.adapter;
  }

  memory(): MemoryUse {
    const { module } = this.#opened;
    const [gpuBuffers, gpuBytes] = this.disposed ? [0, 0] : [module.buffers(), module.bytes()];
    return { gpuBytes, gpuBuffers, wasmBytes: wasmBytes(), models: this.residents.size };
  }

  /** The device to compute on; waits while it is being replaced. */
  async device(): Promise<Opened> {
    await this.#reopening;
    if (this.disposed) fail('DISPOSED', 'the runtime was disposed of');
    if (this.#gone) throw new IResNetError('DEVICE_LOST', this.#gone.message, this.#gone);
    return this.#opened;
  }

  /** Whether the device of this generation has been lost, once those who tell have had time to. */
  async lostSince(generation: number): Promise<boolean> {
    await new Promise((resolve) => setTimeout(resolve, 0));
    return generation !== this.generation;
  }

  #watch(opened: Opened): void {
    void opened.handle.lost.then(({ message, reason }) => {
      if (this.disposed || opened !== this.#opened) return;
      const detail = { reason: message || reason };
      this.#events.dispatchEvent(new CustomEvent('device-lost', { detail }));
      if (this.external) {
        this.#lose();
        this.#gone = new IResNetError('DEVICE_LOST', `the page's device was lost: ${detail.reason}`);
      } else {
        this.reopen();
      }
    });
  }

  #lose(): void {
    this.generation += 1;
    for (const resident of this.residents) resident.lose();
  }

  /** Leaves the device and its errors behind for a new one, or for a new view of the page's own. */
  reopen(): void {
    const left = this.#opened;
    this.#lose();
    const opening = openDevice(this.#options).then(
      (opened) => {
        if (this.disposed) return this.#close(opened);
        this.#opened = opened;
        this.#watch(opened);
        this.#events.dispatchEvent(new CustomEvent('device-restored', { detail: { adapter: opened.adapter } }));
      },
      (error: unknown) => {
        this.#gone = new IResNetError('DEVICE_LOST', `the device was lost, and there is no other: ${String(error)}`, error);
      },
    );
    this.#reopening = opening.finally(() => this.#close(left));
  }

  #close(opened: Opened): void {
    opened.module.free();
    if (!this.external) opened.handle.destroy();
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    current = undefined;
    for (const resident of [...this.residents]) resident.dispose();
    // Calls under way end with the device.
    if (!this.external) this.#opened.handle.destroy();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  addEventListener<K extends keyof RuntimeEventMap>(
    type: K,
    listener: (event: RuntimeEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void {
    this.#events.addEventListener(type, listener as EventListener, options);
  }

  removeEventListener<K extends keyof RuntimeEventMap>(
    type: K,
    listener: (event: RuntimeEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void {
    this.#events.removeEventListener(type, listener as EventListener, options);
  }
}
