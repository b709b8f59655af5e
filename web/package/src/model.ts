import { Loaded } from './bindings/iresnet.js';
import { download } from './download.js';
import { IResNetError, Thrown, aborted, check, fail, fromModule, isCount } from './errors.js';
import { readHeader, type Header } from './header.js';
import { fromPixels, toPixels } from './pixels.js';
import { host, type Host, type Resident } from './runtime.js';
import type {
  Abortable,
  Classified,
  Decoded,
  Encoded,
  Inspection,
  InvertibleModel,
  Inverted,
  InvertOptions,
  Kind,
  LoadOptions,
  LogDetOptions,
  LogProb,
  ModelClass,
  ModelSource,
  Pixels,
  Sampled,
  SampleOptions,
} from './types.js';

/** Makes what the module computes with, on the device of the moment. */
type Make = () => Promise<Loaded>;

/** Writes the model as a file. */
type File = (loaded: Loaded) => Promise<Uint8Array<ArrayBuffer>>;

/** How a running call learns that nobody waits for it any more. */
interface Call {
  /** Throws where the call was given up. */
  check(): void;
}

/** A model as this package holds it: see {@link InvertibleModel}. */
export class Instance implements InvertibleModel, Resident {
  readonly kind: Kind;
  readonly inputShape: readonly number[];
  readonly inputLength: number;
  readonly latentLength: number;
  readonly blocks: number;
  readonly classes: number | undefined;
  disposed = false;
  readonly runtime: Host;
  readonly header: Header;
  #make: Make;
  #file: File;
  #loaded: Loaded | undefined;
  #generation: number;
  #most: number;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = new Set<(error: IResNetError) => void>();

  constructor(
    runtime: Host,
    header: Header,
    loaded: Loaded,
    make: Make,
    file: File,
  ) {
    const { model } = header.config;
    this.runtime = runtime;
    this.header = header;
    this.kind = model.kind;
    this.inputShape = model.input;
    this.inputLength = loaded.input();
    this.latentLength = loaded.latent();
    this.blocks = loaded.blocks();
    this.classes = model.kind === 'classifier' || model.kind === 'hybrid' ? model.classes : undefined;
    this.#make = make;
    this.#file = file;
    this.#loaded = loaded;
    this.#generation = runtime.generation;
    this.#most = loaded.most();
    runtime.residents.add(this);
  }

  /**
   * Runs `work` after all calls before it, on a new device once more if the device is lost meanwhile. Rejects at once when
   * the signal is aborted or the model disposed of, though the work ends only at its next check.
   */
  call<T>(signal: AbortSignal | undefined, work: (loaded: Loaded, call: Call) => Promise<T>): Promise<T> {
    if (this.disposed) return Promise.reject(this.#gone());
    if (signal?.aborted) return Promise.reject(aborted(signal));
    return new Promise<T>((resolve, reject) => {
      let given: IResNetError | undefined;
      const give = (error: IResNetError) => {
        given ??= error;
        reject(given);
      };
      const onAbort = () => give(aborted(signal!));
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(give);
      const call = {
        check() {
          if (given) throw given;
        },
      };
      const run = this.#tail
        .then(() => {
          call.check();
          return this.#attempt(work, call);
        })
        .finally(() => {
          this.#waiting.delete(give);
          signal?.removeEventListener('abort', onAbort);
        });
      this.#tail = run.catch(() => undefined);
      run.then(resolve, reject);
    });
  }

  async #attempt<T>(work: (loaded: Loaded, call: Call) => Promise<T>, call: Call): Promise<T> {
    for (let last = false; ; last = true) {
      const { runtime } = this;
      // Also waits for a device that is being replaced.
      await runtime.device();
      const { generation } = runtime;
      try {
        return await work(await this.#on(generation), call);
      } catch (thrown) {
        call.check();
        if (thrown instanceof Thrown) throw thrown.error;
        const error = fromModule(thrown);
        if (await runtime.lostSince(generation)) {
          call.check();
          if (last || runtime.external) throw new IResNetError('DEVICE_LOST', `the device was lost: ${error.message}`, error);
          continue;
        }
        // A device that has reported an error hands out nothing any more.
        if (error.code === 'OUT_OF_MEMORY' || error.code === 'GPU' || error.code === 'INTERNAL') runtime.reopen();
        throw error;
      }
    }
  }

  /** The model on the device of this generation. */
  async #on(generation: number): Promise<Loaded> {
    if (!this.#loaded || this.#generation !== generation) {
      this.#loaded = await this.#make();
      this.#generation = generation;
    }
    return this.#loaded;
  }

  lose(): void {
    const lost = this.#loaded;
    this.#loaded = undefined;
    // What is at work is still borrowed.
    if (lost) void this.#tail.then(() => lost.free());
  }

  #gone(): IResNetError {
    return new IResNetError('DISPOSED', 'the model was disposed of');
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.runtime.residents.delete(this);
    for (const give of this.#waiting) give(this.#gone());
    this.lose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** Number of samples in an array of numbers of this width. */
  #count(numbers: Float32Array, width: number, what: string): number {
    check(numbers instanceof Float32Array, `${what} is to be a Float32Array`);
    const count = numbers.length / width;
    if (!isCount(count)) {
      fail('SHAPE_MISMATCH', `${numbers.length} numbers are no whole number of ${what} of ${width}`);
    }
    return count;
  }

  /** Computes parts of samples one after the other: so many that the device has room. */
  async #parts(
    numbers: Float32Array,
    width: number,
    call: Call,
    part: (numbers: Float32Array, batch: number, first: number) => Promise<void>,
  ): Promise<void> {
    const count = numbers.length / width;
    const batch = Math.min(count, this.#most);
    for (let first = 0; first < count; first += batch) {
      call.check();
      await part(numbers.slice(first * width, (first + batch) * width), batch, first);
    }
    call.check();
  }

  async encode(x: Float32Array, options: Abortable = {}): Promise<Encoded> {
    const count = this.#count(x, this.inputLength, 'samples');
    const copy = x.slice();
    return this.call(options.signal, (loaded, call) => this.#encode(loaded, call, copy, count));
  }

  async #encode(loaded: Loaded, call: Call, x: Float32Array, count: number): Promise<Encoded> {
    const { latentLength: width, classes } = this;
    const z = new Float32Array(count * width);
    const logits = classes === undefined ? undefined : new Float32Array(count * classes);
    await this.#parts(x, this.inputLength, call, async (part, batch, first) => {
      const found = await loaded.encode(part, batch);
      const end = (part.length / this.inputLength) * width;
      z.set(found.subarray(0, end), first * width);
      logits?.set(found.subarray(end), first * classes!);
    });
    return { z, count, width, logits };
  }

  async decode(z: Float32Array, options: InvertOptions = {}): Promise<Decoded> {
    const count = this.#count(z, this.latentLength, 'latent vectors');
    const copy = z.slice();
    return this.call(options.signal, (loaded, call) => this.#decode(loaded, call, copy, count, options));
  }

  async #decode(
    loaded: Loaded,
    call: Call,
    z: Float32Array,
    count: number,
    options: InvertOptions,
  ): Promise<Decoded> {
    const { solver = 'picard', iterations: limit = 100, tolerance = 1e-6, onIteration, images = false } = options;
    check(solver === 'picard' || solver === 'anderson', `there is no solver ${solver}`);
    check(isCount(limit) && limit < 2 ** 32, 'iterations is to be a whole number of at least 1');
    check(tolerance >= 0 && tolerance < Infinity, 'tolerance is to be a number of at least 0');
    const { inputLength: width, blocks } = this;
    const data = new Float32Array(count * width);
    const [iterations, residual, converged] = [0, 1, 2].map(() => new Float32Array(count)) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    await this.#parts(z, this.latentLength, call, async (part, batch, first) => {
      const here = part.length / this.latentLength;
      await loaded.begin(part, batch, solver === 'anderson', limit, tolerance);
      for (;;) {
        call.check();
        const found = await loaded.advance(onIteration ? 1 : 0, images && onIteration !== undefined);
        const [done, block = 0, iteration = 0, total = 0] = found;
        if (onIteration && blocks > 0) {
          const rest = 4 + 2 * batch;
          const told = {
            first,
            block,
            blocks,
            iteration,
            total,
            residual: found.slice(4, 4 + here),
            converged: Array.from(found.subarray(4 + batch, 4 + batch + here), (flag) => flag > 0),
            x: images ? found.slice(rest, rest + here * width) : undefined,
          };
          try {
            await onIteration(told);
          } catch (error) {
            throw new Thrown(error);
          }
        }
        if (done) break;
      }
      const found = loaded.solution();
      data.set(found.subarray(0, here * width), first * width);
      [iterations, residual, converged].forEach((column, index) => {
        const from = batch * width + index * batch;
        column.set(found.subarray(from, from + here), first);
      });
    });
    const flags = Array.from(converged, (flag) => flag > 0);
    if (options.strict && flags.includes(false)) {
      const failures = flags.filter((flag) => !flag).length;
      fail('NOT_CONVERGED', `${failures} of ${count} samples did not converge in ${limit} iterations of a block`);
    }
    return { data, shape: [count, ...this.inputShape], iterations, residual, converged: flags };
  }

  async invert(x: Float32Array, options: InvertOptions = {}): Promise<Inverted> {
    const count = this.#count(x, this.inputLength, 'samples');
    const copy = x.slice();
    return this.call(options.signal, async (loaded, call) => {
      const { z } = await this.#encode(loaded, call, copy, count);
      const decoded = await this.#decode(loaded, call, z, count, options);
      const [error, largestError] = [new Float32Array(count), new Float32Array(count)];
      for (let sample = 0; sample < count; sample += 1) {
        let [sum, most] = [0, 0];
        for (let at = sample * this.inputLength; at < (sample + 1) * this.inputLength; at += 1) {
          const difference = Math.abs(copy[at]! - decoded.data[at]!);
          sum += difference * difference;
          most = Math.max(most, difference);
        }
        error[sample] = Math.sqrt(sum);
        largestError[sample] = most;
      }
      return { ...decoded, z, error, largestError };
    });
  }

  async logProb(x: Float32Array, options: LogDetOptions & Abortable = {}): Promise<LogProb> {
    const count = this.#count(x, this.inputLength, 'samples');
    this.#needs(this.kind !== 'classifier', 'has no density');
    const { logDet = this.kind === 'toy' ? 'exact' : 'series', terms = 10, probes = 1, seed = 0 } = options;
    check(logDet === 'exact' || logDet === 'series', `there is no log-determinant ${logDet}`);
    check(isCount(terms) && isCount(probes), 'terms and probes are to be whole numbers of at least 1');
    checkSeed(seed);
    const copy = x.slice();
    const images = this.kind !== 'toy';
    return this.call(options.signal, async (loaded, call) => {
      const columns = Array.from({ length: images ? 4 : 3 }, () => new Float32Array(count));
      await this.#parts(copy, this.inputLength, call, async (part, batch, first) => {
        const found = await loaded.logProb(part, batch, logDet === 'exact' ? 0 : terms, probes, seed);
        const here = part.length / this.inputLength;
        columns.forEach((column, index) => column.set(found.subarray(index * here, (index + 1) * here), first));
      });
      const [logProb, logPrior, logDeterminant] = columns as [Float32Array, Float32Array, Float32Array];
      return { logProb, logPrior, logDet: logDeterminant, bitsPerDim: columns[3] };
    });
  }

  async sample(n: number, options: SampleOptions = {}): Promise<Sampled> {
    check(isCount(n), 'the number of samples is to be a whole number of at least 1');
    this.#needs(this.kind !== 'classifier', 'has no density to draw from');
    const { seed = 0, temperature = 1 } = options;
    checkSeed(seed);
    check(temperature >= 0 && temperature < Infinity, 'temperature is to be a number of at least 0');
    return this.call(options.signal, async (loaded, call) => {
      const z = await loaded.draw(n, 0, seed, temperature);
      return { ...(await this.#decode(loaded, call, z, n, options)), z };
    });
  }

  async classify(x: Float32Array, options: Abortable = {}): Promise<Classified> {
    const { classes: width } = this;
    this.#needs(width !== undefined, 'has no classes');
    const { logits, count } = await this.encode(x, options);
    const [classes, probabilities] = [new Uint32Array(count), new Float32Array(count * width!)];
    for (let sample = 0; sample < count; sample += 1) {
      const row = logits!.subarray(sample * width!, (sample + 1) * width!);
      const most = Math.max(...row);
      const weights = Array.from(row, (logit) => Math.exp(logit - most));
      const sum = weights.reduce((total, weight) => total + weight, 0);
      classes[sample] = row.indexOf(most);
      probabilities.set(
        weights.map((weight) => weight / sum),
        sample * width!,
      );
    }
    return { classes, probabilities, logits: logits! };
  }

  async inspect(): Promise<Inspection> {
    const { header, kind, inputShape: input, latentLength: latent } = this;
    return this.call(undefined, async (loaded) => {
      const certified = header.certificate?.blocks;
      const blocks = Array.from({ length: this.blocks }, (_, index) => {
        const [parameters = 0, ...shape] = loaded.blockSizes(index);
        const lipschitz = certified?.[index]?.constant ?? NaN;
        return { name: loaded.blockName(index), input: shape, parameters, lipschitz };
      });
      return {
        kind,
        input,
        latent,
        parameters: loaded.parameters(),
        multiplyAdds: loaded.multiplyAdds(),
        step: header.step,
        hash: header.hash,
        blocks,
        invertible: certified && certified.length > 0 && certified.every(({ constant }) => constant < 1),
        config: structuredClone(header.config),
      };
    });
  }

  async save(): Promise<Uint8Array<ArrayBuffer>> {
    return this.call(undefined, (loaded) => this.#file(loaded));
  }

  fromPixels(pixels: { readonly data: ArrayLike<number>; readonly width: number; readonly height: number }): Float32Array {
    return fromPixels(this.header.config, pixels);
  }

  toPixels(x: Float32Array, index = 0): Pixels {
    return toPixels(this.header.config, x, index);
  }

  #needs(holds: boolean, what: string): void {
    if (!holds) fail('UNSUPPORTED', `a model of kind ${this.kind} ${what}`);
  }
}

export function checkSeed(seed: number): void {
  check(Number.isSafeInteger(seed) && seed >= 0, 'seed is to be a whole number from 0 to 2^53');
}

/** A model from a file's bytes. */
export async function fromFile(runtime: Host, bytes: Uint8Array<ArrayBuffer>): Promise<Instance> {
  const make = async () => {
    const { module } = await runtime.device();
    try {
      return Loaded.load(module, bytes);
    } catch (error) {
      throw fromModule(error);
    }
  };
  const header = readHeader(bytes);
  const { architecture } = header.config.model;
  if (architecture !== 'iresnet') fail('UNSUPPORTED', `models of architecture ${architecture} do not run in browsers`);
  return new Instance(runtime, header, await make(), make, async () => bytes.slice());
}

/** Models: see {@link ModelClass}. */
export const Model: ModelClass = {
  async load(source: ModelSource, options: LoadOptions = {}): Promise<InvertibleModel> {
    const [runtime, bytes] = await Promise.all([host(), download(source, options)]);
    if (options.signal?.aborted) throw aborted(options.signal);
    return fromFile(runtime, bytes);
  },
};
