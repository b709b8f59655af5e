import { Loaded } from './bindings/iresnet.js';
import { aborted, check, fail, fromModule, isCount } from './errors.js';
import type { Header } from './header.js';
import { Instance, checkSeed, fromFile } from './model.js';
import { host } from './runtime.js';
import type { InvertibleModel, ToyName, TrainOptions } from './types.js';

const TOYS: readonly ToyName[] = [
  '8gaussians',
  'checkerboard',
  '2spirals',
  'moons',
  'circles',
  'pinwheel',
  'swissroll',
  'rings',
];

/** Most steps that are made without a look at the signal. */
const AT_A_TIME = 5;

/**
 * Learns a density in the plane, and gives the model.
 *
 * @throws {@link IResNetError} `DIVERGED` if the loss is no number any more, `ABORTED`, `INVALID_ARGUMENT`
 */
export async function train(options: TrainOptions): Promise<InvertibleModel> {
  const { steps = 1000, every = 10, seed = 0, signal, onProgress } = options;
  const { batch = 256, blocks = 8, channels = 32, coefficient = 0.95, learningRate = 0.01 } = options;
  for (const [name, value] of Object.entries({ steps, every, batch, blocks, channels })) {
    check(isCount(value), `${name} is to be a whole number of at least 1`);
  }
  checkSeed(seed);
  check(coefficient > 0 && coefficient < 1, 'coefficient is to be a number between 0 and 1');
  check(learningRate > 0 && learningRate < Infinity, 'learningRate is to be a positive number');
  const own = options.data instanceof Float32Array ? options.data.slice() : new Float32Array();
  if (options.data instanceof Float32Array) {
    if (own.length < 4 || own.length % 2 > 0) fail('SHAPE_MISMATCH', `${own.length} numbers are no points x, y, x, y, …`);
    check(own.every(Number.isFinite), 'points are to be finite numbers');
  } else {
    check(TOYS.includes(options.data), `there is no set ${options.data}: there are ${TOYS.join(', ')}`);
  }
  const header: Header = {
    step: 0,
    hash: '',
    config: {
      model: {
        kind: 'toy',
        architecture: 'iresnet',
        input: [2],
        blocks: [blocks],
        strides: [1],
        channels: [channels],
        hidden_layers: 2,
        injective_padding: 0,
        coefficient,
        classes: 10,
      },
      log_det: { estimator: 'exact' },
      data: {
        name: own.length > 0 ? 'toy:moons' : `toy:${options.data as ToyName}`,
        batch,
        limit: batch * steps,
        normalize: true,
        dequantize: false,
        bits: 8,
      },
      optimizer: { name: 'adam', lr: learningRate, schedule: 'cosine', warmup: Math.min(0.05, 20 / steps), clip: 1 },
      // Seeds of the native program have 48 bits.
      train: { epochs: 1, seed: seed % 2 ** 48, init_batch: 1024 },
    } as unknown as Header['config'],
  };
  if (signal?.aborted) throw aborted(signal);
  const runtime = await host();
  const config = JSON.stringify(header.config);
  let kept: Uint8Array<ArrayBuffer> | undefined;
  const make = async () => {
    const { module } = await runtime.device();
    return Loaded.startTraining(module, config, own, kept).catch((error: unknown) => {
      throw fromModule(error);
    });
  };
  const save = (training: Loaded, whole: boolean) => training.save(whole) as Promise<Uint8Array<ArrayBuffer>>;
  const model = new Instance(runtime, header, await make(), make, (training) => save(training, false));
  try {
    let [step, milliseconds] = [0, 0];
    while (step < steps) {
      const target = Math.min(steps, step + every);
      const losses = new Float32Array(target - step);
      // What a lost device takes away is made again from the last state.
      kept = await model.call(signal, async (training, call) => {
        const start = performance.now();
        for (let at = step; at < target; at += AT_A_TIME) {
          call.check();
          losses.set(await training.train(Math.min(AT_A_TIME, target - at), own), at - step);
        }
        const state = await save(training, true);
        milliseconds += performance.now() - start;
        return state;
      });
      step = target;
      const loss = losses.reduce((sum, one) => sum + one, 0) / losses.length;
      await onProgress?.({ step, steps, losses, loss, milliseconds, model });
      if (signal?.aborted) throw aborted(signal);
    }
    const file = await model.call(signal, async (training) => {
      await training.finishTraining();
      return save(training, false);
    });
    return await fromFile(runtime, file);
  } finally {
    model.dispose();
  }
}
