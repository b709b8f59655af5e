/**
 * The public types of the package: what goes in, what comes out, and how it fails.
 *
 * Numbers are f32 everywhere. Samples lie one after the other, row-major: n images of shape [C, H, W] are n · C · H · W
 * numbers. Arrays that are returned are copies of their own, never views into the module's memory.
 *
 * @module
 */

/** The module's code: where it is, or what was made of it. */
export type WasmSource = URL | string | Request | Response | PromiseLike<Response> | BufferSource | WebAssembly.Module;

/** Options of {@link init}. All may be left out. */
export interface InitOptions {
  /** Where `iresnet_bg.wasm` is. By default beside this module, as `new URL(…, import.meta.url)`. */
  wasm?: WasmSource;
  /**
   * A device of the page's own to compute on. It is never destroyed; its features and limits are used as they are, and
   * if it is lost, work ends with `DEVICE_LOST`: only the page can replace it.
   */
  device?: GPUDevice;
  /** Which adapter to ask for, where no `device` is given. */
  adapter?: GPURequestAdapterOptions;
}

/** What is known of an adapter. Browsers leave strings empty rather than tell. */
export interface AdapterSummary {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Whether it computes on the processor, which is slow. */
  readonly fallback: boolean;
}

/** What {@link detect} found. */
export interface Detection {
  /** Whether models can run here. */
  readonly webgpu: boolean;
  /** The adapter that would be used, if there is one. */
  readonly adapter: AdapterSummary | undefined;
  /** The adapter's limits that decide how large a model and a batch may be. */
  readonly limits: { readonly maxBufferSize: number; readonly maxStorageBufferBindingSize: number } | undefined;
  /** Why models cannot run, or not well, in plain words. Empty if all is well. */
  readonly reasons: readonly string[];
}

/** Memory in use. */
export interface MemoryUse {
  /** Bytes of the buffers that this package holds on the device. */
  readonly gpuBytes: number;
  /** Number of those buffers. */
  readonly gpuBuffers: number;
  /** Bytes of the module's own memory, which can grow but not shrink. */
  readonly wasmBytes: number;
  /** Models that are loaded and not disposed of. */
  readonly models: number;
}

/** Events of a {@link Runtime}. */
export interface RuntimeEventMap {
  /** The device was lost. Work under way is repeated on a new one, once. `detail` says why. */
  'device-lost': CustomEvent<{ readonly reason: string }>;
  /** There is a new device, and all models are on it. */
  'device-restored': CustomEvent<{ readonly adapter: AdapterSummary }>;
}

/** An open device, shared by all models. */
export interface Runtime {
  /** What computes. There is no other backend to fall back to: where WebGPU is missing, {@link init} rejects. */
  readonly backend: 'webgpu';
  /** The adapter. Of an external device only what the device itself tells. */
  readonly adapter: AdapterSummary;
  /** Whether the device is the page's own. */
  readonly external: boolean;
  /** Memory in use now. */
  memory(): MemoryUse;
  addEventListener<K extends keyof RuntimeEventMap>(
    type: K,
    listener: (event: RuntimeEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof RuntimeEventMap>(
    type: K,
    listener: (event: RuntimeEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  /** Disposes of all models and of the device, if it is this package's own. {@link init} may be called again. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/**
 * Why something failed.
 *
 * | code | meaning |
 * | --- | --- |
 * | `NO_WEBGPU` | the browser has no WebGPU, or the page is not served securely |
 * | `NO_ADAPTER` | WebGPU is there, but no adapter that suits |
 * | `WASM` | the module's code could not be fetched or compiled |
 * | `NETWORK` | a model could not be fetched |
 * | `BAD_MODEL` | the bytes are no model file, or a damaged one |
 * | `SHAPE_MISMATCH` | an array has not as many numbers as samples of this model need |
 * | `INVALID_ARGUMENT` | an option is out of range or does not exist |
 * | `UNSUPPORTED` | this kind of model cannot do that |
 * | `OUT_OF_MEMORY` | the device has no room: use fewer samples at a time |
 * | `DEVICE_LOST` | the device was lost, and a second time after it had been replaced; or it was the page's own |
 * | `NOT_CONVERGED` | with `strict`: a sample did not converge |
 * | `DIVERGED` | training produced a loss that is not finite |
 * | `ABORTED` | the `signal` was aborted; `cause` is its reason, `name` is `AbortError` |
 * | `DISPOSED` | the model or the runtime had been disposed of |
 * | `GPU` | the driver reported an error of another kind |
 * | `INTERNAL` | a mistake in this package: please report it |
 */
export type ErrorCode =
  | 'NO_WEBGPU'
  | 'NO_ADAPTER'
  | 'WASM'
  | 'NETWORK'
  | 'BAD_MODEL'
  | 'SHAPE_MISMATCH'
  | 'INVALID_ARGUMENT'
  | 'UNSUPPORTED'
  | 'OUT_OF_MEMORY'
  | 'DEVICE_LOST'
  | 'NOT_CONVERGED'
  | 'DIVERGED'
  | 'ABORTED'
  | 'DISPOSED'
  | 'GPU'
  | 'INTERNAL';

/** What a model can be read from: a file's bytes, or where they are. */
export type ModelSource = ArrayBuffer | Uint8Array | Blob | Response | Request | URL | string;

/** How far a download has come. */
export interface LoadProgress {
  /** Bytes received. */
  readonly loaded: number;
  /** Bytes in all, where the server says. */
  readonly total: number | undefined;
}

/** Every long call takes a signal. */
export interface Abortable {
  /** Ends the work soon after it is aborted: the promise rejects with `ABORTED`. */
  signal?: AbortSignal | undefined;
}

/** Options of {@link ModelClass.load}. */
export interface LoadOptions extends Abortable {
  /** Called as bytes arrive. */
  onProgress?: (progress: LoadProgress) => void;
}

/** What a model is for. `toy` is a density of a few numbers, such as points of the plane. */
export type Kind = 'classifier' | 'density' | 'hybrid' | 'toy';

/** How log-determinants are computed. */
export interface LogDetOptions {
  /**
   * `exact` eliminates the Jacobian of every block (only up to a few dimensions: the default of toys), `series` sums the
   * power series of the logarithm with random probes (the default of images).
   */
  logDet?: 'exact' | 'series' | undefined;
  /** Terms of the series. By default 10. */
  terms?: number | undefined;
  /** Probes of each block. By default 1. */
  probes?: number | undefined;
  /** Of the probes. Equal seeds give equal results. By default 0. */
  seed?: number | undefined;
}

/** Latent codes. */
export interface Encoded {
  /** Latent numbers, `count` rows of `width`: every factored-out part flattened in order, then the rest. */
  readonly z: Float32Array;
  /** Number of samples. */
  readonly count: number;
  /** Latent numbers of a sample. */
  readonly width: number;
  /** Scores of the classes, `count` rows, where the model has classes. */
  readonly logits: Float32Array | undefined;
}

/** One iteration on the way back. */
export interface Iteration {
  /**
   * Number of the first sample that this is about, of as many as `residual` has: many samples are inverted in several parts,
   * one after the other.
   */
  readonly first: number;
  /** The block that is being inverted, counted from the input; the last one comes first. */
  readonly block: number;
  /** Number of blocks. */
  readonly blocks: number;
  /** Evaluations of this block's branch so far, of the sample that took most. */
  readonly iteration: number;
  /** Evaluations so far over all blocks. */
  readonly total: number;
  /** The last change max |xₖ₊₁ − xₖ| of each sample in this block. At 1e30 an iteration has left the numbers. */
  readonly residual: Float32Array;
  /** Which samples have converged in this block. */
  readonly converged: readonly boolean[];
  /**
   * The samples as they are now, in the shape of the input: the present iterate, seen as if the residual branches in front of
   * it were zero. Only with {@link InvertOptions.images}.
   */
  readonly x: Float32Array | undefined;
}

/** How blocks are inverted. */
export interface InvertOptions extends Abortable {
  /** `picard` is the paper's fixed-point iteration (algorithm 1, the default), `anderson` the same, accelerated. */
  solver?: 'picard' | 'anderson' | undefined;
  /** Most evaluations of the branch of a block. By default 100. */
  iterations?: number | undefined;
  /** A sample is done with a block when no number changes by more. 0 always runs all iterations. By default 1e-6. */
  tolerance?: number | undefined;
  /** Reject with `NOT_CONVERGED` where a sample does not converge, instead of saying so in the result. */
  strict?: boolean | undefined;
  /**
   * Called with every iteration. A promise that it returns is awaited before the next: that is how an animation sets the
   * pace.
   */
  onIteration?: ((iteration: Iteration) => void | PromiseLike<void>) | undefined;
  /** Whether {@link Iteration.x} is wanted. By default no. */
  images?: boolean | undefined;
}

/** Samples that were rebuilt from latent numbers. */
export interface Decoded {
  /** The samples, row-major. */
  readonly data: Float32Array;
  /** [count, …shape of the input]. */
  readonly shape: readonly number[];
  /** Evaluations of residual branches of each sample, summed over blocks. */
  readonly iterations: Float32Array;
  /** The last change of each sample, the largest over blocks. */
  readonly residual: Float32Array;
  /** Whether every block converged, for each sample. */
  readonly converged: readonly boolean[];
}

/** Samples that were encoded and rebuilt. */
export interface Inverted extends Decoded {
  /** The latent numbers between. */
  readonly z: Float32Array;
  /** Euclidean distance of each sample from its reconstruction. */
  readonly error: Float32Array;
  /** Largest difference of a single number, for each sample. */
  readonly largestError: Float32Array;
}

/** Samples drawn from a density. */
export interface Sampled extends Decoded {
  /** The latent numbers they come from, of the prior. */
  readonly z: Float32Array;
}

/** Options of {@link InvertibleModel.sample}. */
export interface SampleOptions extends InvertOptions {
  /** Equal seeds give equal samples. A whole number from 0 to 2^53. By default 0. */
  seed?: number | undefined;
  /** Factor on the standard deviation of the prior. By default 1. */
  temperature?: number | undefined;
}

/** Log-densities in nats, a number for each sample. */
export interface LogProb {
  /** The sum of the other two. */
  readonly logProb: Float32Array;
  /** Of the latent numbers under the prior. */
  readonly logPrior: Float32Array;
  /** ln |det ∂z/∂x|. */
  readonly logDet: Float32Array;
  /** Bits per dimension, of images. */
  readonly bitsPerDim: Float32Array | undefined;
}

/** Classes of samples. */
export interface Classified {
  /** The likeliest class of each sample. */
  readonly classes: Uint32Array;
  /** A row of probabilities for each sample. */
  readonly probabilities: Float32Array;
  /** The scores they come from. */
  readonly logits: Float32Array;
}

/** What is proved of one block. */
export interface BlockReport {
  readonly name: string;
  /** [C, H, W], or [d]. */
  readonly input: readonly number[];
  readonly parameters: number;
  /**
   * Upper bound of the Lipschitz constant of its residual branch, of the stored certificate; NaN without one. Below 1 the
   * block can be inverted.
   */
  readonly lipschitz: number;
}

/** What a model is. */
export interface Inspection {
  readonly kind: Kind;
  readonly input: readonly number[];
  readonly latent: number;
  readonly parameters: number;
  /** Multiply-adds of one sample, forwards. */
  readonly multiplyAdds: number;
  /** Steps it was trained for. */
  readonly step: number;
  /** BLAKE3 of its contents. */
  readonly hash: string;
  readonly blocks: readonly BlockReport[];
  /** Whether the stored certificate bounds every block's Lipschitz constant below 1; undefined without a certificate. */
  readonly invertible: boolean | undefined;
  /** The resolved configuration it was trained with. */
  readonly config: Record<string, unknown>;
}

/** Pixels as a canvas takes them: RGBA, row-major. */
export interface Pixels {
  readonly data: Uint8ClampedArray<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/**
 * A model on a device. All calls may be made at any time, also before others have ended: they run one after the other.
 */
export interface InvertibleModel {
  readonly kind: Kind;
  /** Shape of an input sample: [C, H, W], or [d]. */
  readonly inputShape: readonly number[];
  /** Numbers of an input sample. */
  readonly inputLength: number;
  /** Latent numbers of a sample. */
  readonly latentLength: number;
  /** Number of residual blocks. */
  readonly blocks: number;
  /** Number of classes, where the model has them. */
  readonly classes: number | undefined;
  /** Whether it has been disposed of. */
  readonly disposed: boolean;

  /** Latent numbers (and logits) of n samples. */
  encode(x: Float32Array, options?: Abortable): Promise<Encoded>;
  /** The way back from latent numbers, block after block from the last. */
  decode(z: Float32Array, options?: InvertOptions): Promise<Decoded>;
  /** Encodes samples and rebuilds them from their codes alone. */
  invert(x: Float32Array, options?: InvertOptions): Promise<Inverted>;
  /** Log-densities of n samples. Rejects with `UNSUPPORTED` for classifiers. */
  logProb(x: Float32Array, options?: LogDetOptions & Abortable): Promise<LogProb>;
  /** Draws n samples. Rejects with `UNSUPPORTED` for classifiers. */
  sample(n: number, options?: SampleOptions): Promise<Sampled>;
  /** Classes of n samples. Rejects with `UNSUPPORTED` for models without classes. */
  classify(x: Float32Array, options?: Abortable): Promise<Classified>;
  /** What the model is and what is proved of it. */
  inspect(): Promise<Inspection>;
  /** The model as a file, which {@link ModelClass.load} and the native program read. */
  save(): Promise<Uint8Array<ArrayBuffer>>;

  /**
   * Pixels (such as a canvas's `getImageData`, of exactly the model's width and height) as the numbers of a sample. Models
   * of one channel take the luminance.
   */
  fromPixels(pixels: { readonly data: ArrayLike<number>; readonly width: number; readonly height: number }): Float32Array;
  /** Sample `index` of an array of samples as pixels, for `new ImageData(data, width, height)`. */
  toPixels(x: Float32Array, index?: number): Pixels;

  /** Frees its memory on the device. Calls that have not ended reject with `DISPOSED`. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** How models are made. */
export interface ModelClass {
  /**
   * Reads a model file and puts it on the device; calls {@link init} if that has not been done.
   */
  load(source: ModelSource, options?: LoadOptions): Promise<InvertibleModel>;
}

/** The two-dimensional sets that can be learned. */
export type ToyName =
  | '8gaussians'
  | 'checkerboard'
  | '2spirals'
  | 'moons'
  | 'circles'
  | 'pinwheel'
  | 'swissroll'
  | 'rings';

/** Options of {@link train}. */
export interface TrainOptions extends Abortable {
  /** What is learned: a set by its name, from which fresh points are drawn, or points of one's own (x, y, x, y, …). */
  data: ToyName | Float32Array;
  /** Steps. By default 1,000. */
  steps?: number | undefined;
  /** Points of a step. By default 256. */
  batch?: number | undefined;
  /** Residual blocks. By default 8. */
  blocks?: number | undefined;
  /** Width of their hidden layers. By default 32. */
  channels?: number | undefined;
  /** Bound c of the Lipschitz constants, below 1. By default 0.95. */
  coefficient?: number | undefined;
  /** Learning rate of Adam; it falls to 0 along a cosine. By default 0.01. */
  learningRate?: number | undefined;
  /** Of initial values and of all that is drawn. By default 0. */
  seed?: number | undefined;
  /** Steps between two calls of `onProgress`. By default 10. */
  every?: number | undefined;
  /**
   * Called every few steps. The model can be used inside, to paint what it has learned so far; training goes on when the
   * promise that is returned is fulfilled.
   */
  onProgress?: ((progress: TrainProgress) => void | PromiseLike<void>) | undefined;
}

/** How far training has come. */
export interface TrainProgress {
  /** Steps done. */
  readonly step: number;
  /** Steps in all. */
  readonly steps: number;
  /** Loss of every step since the last call, −mean log p in nats. */
  readonly losses: Float32Array;
  /** Mean over those. */
  readonly loss: number;
  /** Milliseconds of computing since training began, without the time inside `onProgress`. */
  readonly milliseconds: number;
  /** The model as it is now. Valid until the promise that the callback returns is fulfilled. */
  readonly model: InvertibleModel;
}
