/**
 * The same as the package's main entry, with all work in a worker: the page stays free while models are read, planned and
 * run. What cannot be handed to a worker is missing: a device of the page's own.
 *
 * @packageDocumentation
 */
import { download } from './download.js';
import { IResNetError, aborted, check, fail } from './errors.js';
import type { Header } from './header.js';
import type { Description, Opening, Order, Reply } from './messages.js';
import { fromPixels, toPixels } from './pixels.js';
import type {
  Abortable,
  AdapterSummary,
  Classified,
  Decoded,
  Detection,
  Encoded,
  InitOptions,
  Inspection,
  Inverted,
  InvertibleModel,
  InvertOptions,
  Kind,
  LoadOptions,
  LogDetOptions,
  LogProb,
  MemoryUse,
  ModelClass,
  ModelSource,
  Pixels,
  Runtime,
  RuntimeEventMap,
  Sampled,
  SampleOptions,
  TrainOptions,
  TrainProgress,
} from './types.js';

export { IResNetError };
export type * from './types.js';

interface Pending {
  resolve: (value: never) => void;
  reject: (error: unknown) => void;
  callbacks: Record<string, (payload: never) => unknown>;
  thrown?: unknown;
}

/** A worker and what has been asked of it. */
class Line {
  memory: MemoryUse = { gpuBytes: 0, gpuBuffers: 0, wasmBytes: 0, models: 0 };
  readonly events = new EventTarget();
  #worker = new Worker(new URL('./server.js', import.meta.url), { type: 'module', name: 'iresnet' });
  #pending = new Map<number, Pending>();
  #last = 0;
  #ended: IResNetError | undefined;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<Reply>) => this.#hear(data);
    this.#worker.onerror = (event) => this.end(new IResNetError('WASM', `the worker failed: ${event.message ?? 'it cannot be loaded'}`));
  }

  ask<T>(model: number, method: string, args: unknown[], options?: object): Promise<T> {
    const { signal } = (options ?? {}) as Abortable;
    if (this.#ended) return Promise.reject(this.#ended);
    if (signal?.aborted) return Promise.reject(aborted(signal));
    const callbacks: Pending['callbacks'] = {};
    const plain: Record<string, unknown> = {};
    for (const [name, value] of Object.entries(options ?? {})) {
      if (typeof value === 'function') callbacks[name] = value as (payload: never) => unknown;
      else if (name !== 'signal') plain[name] = value;
    }
    const id = (this.#last += 1);
    return new Promise<T>((resolve, reject) => {
      const onAbort = () => {
        this.#send({ abort: id, reason: String(signal!.reason) });
        reject(aborted(signal!));
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const done = () => signal?.removeEventListener('abort', onAbort);
      this.#pending.set(id, {
        resolve: (value: never) => (done(), resolve(value)),
        reject: (error) => (done(), reject(error)),
        callbacks,
      });
      this.#send({ id, model, method, args: options ? [...args, plain] : args, wants: Object.keys(callbacks) });
    });
  }

  #send(order: Order): void {
    this.#worker.postMessage(order);
  }

  #hear(reply: Reply): void {
    if ('event' in reply) {
      this.events.dispatchEvent(new CustomEvent(reply.event, { detail: reply.detail }));
      return;
    }
    const pending = this.#pending.get(reply.id);
    if ('callback' in reply) {
      void this.#answer(pending, reply);
      return;
    }
    this.#pending.delete(reply.id);
    this.memory = reply.memory ?? this.memory;
    if ('value' in reply) pending?.resolve(reply.value as never);
    else if (reply.error.code) pending?.reject(new IResNetError(reply.error.code, reply.error.message));
    else pending?.reject(pending.thrown);
  }

  async #answer(pending: Pending | undefined, reply: Extract<Reply, { callback: string }>): Promise<void> {
    let failed = false;
    try {
      await pending?.callbacks[reply.callback]?.(reply.payload as never);
    } catch (error) {
      failed = true;
      if (pending) pending.thrown = error;
    }
    this.#send({ answer: reply.question, failed });
  }

  end(error: IResNetError): void {
    this.#ended ??= error;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    if (current?.line === this) current = undefined;
  }
}

let current: { line: Line; runtime: Promise<RemoteRuntime> } | undefined;

/**
 * Starts the worker, loads the module there and opens a device, once: further calls give the same runtime until that is
 * disposed of.
 *
 * @throws {@link IResNetError} `NO_WEBGPU`, `NO_ADAPTER` or `WASM`; `INVALID_ARGUMENT` with a `device`
 */
export function init(options: InitOptions = {}): Promise<Runtime> {
  return open(options);
}

function open(options: InitOptions): Promise<RemoteRuntime> {
  if (!current) {
    const line = new Line();
    const runtime = start(line, options).catch((error: IResNetError) => {
      line.end(error);
      throw error;
    });
    current = { line, runtime };
  }
  return current.runtime;
}

async function start(line: Line, options: InitOptions): Promise<RemoteRuntime> {
  check(!options.device, 'a device of the page’s own cannot be handed to a worker');
  const { wasm } = options;
  const place = typeof wasm === 'string' || wasm instanceof URL ? new URL(wasm, location.href).href : wasm;
  check(!(place instanceof Response || place instanceof Request), 'give the worker a URL, bytes or a module');
  const { adapter } = await line.ask<Opening>(0, 'init', [], { ...options, wasm: place });
  return new RemoteRuntime(line, adapter);
}

/** What can run here, without opening anything. */
export async function detect(options: GPURequestAdapterOptions = {}): Promise<Detection> {
  const line = current?.line ?? new Line();
  try {
    return await line.ask<Detection>(0, 'detect', [], options);
  } finally {
    if (line !== current?.line) line.end(new IResNetError('DISPOSED', ''));
  }
}

class RemoteRuntime implements Runtime {
  readonly backend = 'webgpu';
  readonly external = false;
  readonly line: Line;
  adapter: AdapterSummary;

  constructor(line: Line, adapter: AdapterSummary) {
    this.line = line;
    this.adapter = adapter;
    this.addEventListener('device-restored', ({ detail }) => (this.adapter = detail.adapter));
  }

  memory(): MemoryUse {
    return this.line.memory;
  }

  addEventListener<K extends keyof RuntimeEventMap>(
    type: K,
    listener: (event: RuntimeEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void {
    this.line.events.addEventListener(type, listener as EventListener, options);
  }

  removeEventListener<K extends keyof RuntimeEventMap>(
    type: K,
    listener: (event: RuntimeEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void {
    this.line.events.removeEventListener(type, listener as EventListener, options);
  }

  dispose(): void {
    this.line.end(new IResNetError('DISPOSED', 'the runtime was disposed of'));
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

class RemoteModel implements InvertibleModel {
  readonly kind: Kind;
  readonly inputShape: readonly number[];
  readonly inputLength: number;
  readonly latentLength: number;
  readonly blocks: number;
  readonly classes: number | undefined;
  disposed = false;
  #line: Line;
  #number: number;
  #header: Header;
  #waiting = new Set<(error: IResNetError) => void>();

  constructor(line: Line, { number, header, inputLength, latentLength, blocks }: Description) {
    const { kind, input, classes } = header.config.model;
    this.kind = kind;
    this.inputShape = input;
    this.inputLength = inputLength;
    this.latentLength = latentLength;
    this.blocks = blocks;
    this.classes = kind === 'classifier' || kind === 'hybrid' ? classes : undefined;
    this.#line = line;
    this.#number = number;
    this.#header = header;
  }

  #ask<T>(method: string, args: unknown[], options?: object): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.disposed) fail('DISPOSED', 'the model was disposed of');
      this.#waiting.add(reject);
      const asked = this.#line.ask<T>(this.#number, method, args, options);
      asked.then(resolve, reject).finally(() => this.#waiting.delete(reject));
    });
  }

  encode(x: Float32Array, options: Abortable = {}): Promise<Encoded> {
    return this.#ask('encode', [x], options);
  }

  decode(z: Float32Array, options: InvertOptions = {}): Promise<Decoded> {
    return this.#ask('decode', [z], options);
  }

  invert(x: Float32Array, options: InvertOptions = {}): Promise<Inverted> {
    return this.#ask('invert', [x], options);
  }

  logProb(x: Float32Array, options: LogDetOptions & Abortable = {}): Promise<LogProb> {
    return this.#ask('logProb', [x], options);
  }

  sample(n: number, options: SampleOptions = {}): Promise<Sampled> {
    return this.#ask('sample', [n], options);
  }

  classify(x: Float32Array, options: Abortable = {}): Promise<Classified> {
    return this.#ask('classify', [x], options);
  }

  inspect(): Promise<Inspection> {
    return this.#ask('inspect', []);
  }

  save(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#ask('save', []);
  }

  fromPixels(pixels: { readonly data: ArrayLike<number>; readonly width: number; readonly height: number }): Float32Array {
    return fromPixels(this.#header.config, pixels);
  }

  toPixels(x: Float32Array, index = 0): Pixels {
    return toPixels(this.#header.config, x, index);
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    for (const reject of this.#waiting) reject(new IResNetError('DISPOSED', 'the model was disposed of'));
    this.#line.ask(this.#number, 'dispose', []).catch(() => undefined);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Models: see {@link ModelClass}. */
export const Model: ModelClass = {
  async load(source: ModelSource, options: LoadOptions = {}): Promise<InvertibleModel> {
    const [{ line }, bytes] = await Promise.all([open({}), download(source, options)]);
    const { signal } = options;
    return new RemoteModel(line, await line.ask<Description>(0, 'load', [bytes], { signal }));
  },
};

/**
 * Learns a density in the plane, and gives the model.
 *
 * @throws {@link IResNetError} `DIVERGED` if the loss is no number any more, `ABORTED`, `INVALID_ARGUMENT`
 */
export async function train(options: TrainOptions): Promise<InvertibleModel> {
  const { line } = await open({});
  const { onProgress } = options;
  const wrapped = async (progress: Omit<TrainProgress, 'model'> & { readonly model: Description }) => {
    const model = new RemoteModel(line, progress.model);
    await onProgress?.({ ...progress, model });
  };
  const asked = { ...options, onProgress: onProgress && wrapped };
  return new RemoteModel(line, await line.ask<Description>(0, 'train', [], asked));
}
