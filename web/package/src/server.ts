/** What runs inside the worker that {@link file://./worker.ts} starts. */
import { IResNetError, fromModule } from './errors.js';
import { buffers, type Description, type Failure, type Reply, type Order } from './messages.js';
import { fromFile, type Instance } from './model.js';
import { detect, host, type Host } from './runtime.js';
import { train } from './train.js';
import type { InitOptions, TrainOptions, TrainProgress } from './types.js';

const models = new Map<number, Instance>();
const numbers = new WeakMap<Instance, number>();
const controllers = new Map<number, AbortController>();
const questions = new Map<number, { resolve: () => void; reject: (error: unknown) => void }>();
let [lastModel, lastQuestion] = [0, 0];
let runtime: Host | undefined;

function post(reply: Reply): void {
  postMessage(reply, { transfer: 'value' in reply ? buffers(reply.value) : 'payload' in reply ? buffers(reply.payload) : [] });
}

function describe(model: Instance): Description {
  let number = numbers.get(model);
  if (number === undefined) {
    number = lastModel += 1;
    numbers.set(model, number);
    models.set(number, model);
  }
  const { header, inputLength, latentLength, blocks } = model;
  return { number, header, inputLength, latentLength, blocks };
}

/** Calls a callback of the page's, and waits for what becomes of it. */
function ask(id: number, callback: string, payload: unknown): Promise<void> {
  const question = (lastQuestion += 1);
  return new Promise((resolve, reject) => {
    questions.set(question, { resolve, reject });
    post({ id, callback, payload, question });
  });
}

const methods = {
  async init(options: InitOptions) {
    runtime = await host(options);
    for (const event of ['device-lost', 'device-restored'] as const) {
      runtime.addEventListener(event, ({ detail }: CustomEvent<unknown>) => post({ event, detail }));
    }
    return { adapter: runtime.adapter };
  },
  detect,
  load: async (bytes: Uint8Array<ArrayBuffer>) => describe(await fromFile(await host(), bytes)),
  async train(options: TrainOptions) {
    const onProgress = options.onProgress as unknown as ((progress: unknown) => Promise<void>) | undefined;
    const wrapped = async (progress: TrainProgress) => {
      const model = describe(progress.model as Instance);
      await onProgress?.({ ...progress, model });
    };
    return describe((await train({ ...options, onProgress: onProgress && wrapped })) as Instance);
  },
} as Record<string, (...args: never[]) => Promise<unknown>>;

async function run({ id, model, method, args, wants }: Extract<Order, { method: string }>): Promise<unknown> {
  const options = args.at(-1);
  if (typeof options === 'object' && options !== null && !ArrayBuffer.isView(options)) {
    const controller = new AbortController();
    controllers.set(id, controller);
    const extended = options as Record<string, unknown>;
    extended['signal'] = controller.signal;
    for (const name of wants) extended[name] = (payload: unknown) => ask(id, name, payload);
  }
  const target = (model === 0 ? methods : models.get(model)) as typeof methods | undefined;
  if (!target) throw new IResNetError('DISPOSED', 'the model was disposed of');
  const result = await target[method]!(...(args as never[]));
  if (method === 'dispose') models.delete(model);
  return result;
}

const failure = (error: unknown): Failure => {
  if (error instanceof IResNetError) return { code: error.code, message: error.message };
  // What a callback threw is kept on the page.
  if (error === CALLBACK) return { code: undefined, message: '' };
  return { code: 'INTERNAL', message: fromModule(error).message };
};

const CALLBACK = Symbol('callback');

addEventListener('message', ({ data }: MessageEvent<Order>) => {
  if ('abort' in data) {
    controllers.get(data.abort)?.abort(data.reason);
  } else if ('answer' in data) {
    const question = questions.get(data.answer);
    questions.delete(data.answer);
    if (data.failed) question?.reject(CALLBACK);
    else question?.resolve();
  } else {
    const { id } = data;
    run(data)
      .then(
        (value) => post({ id, value, memory: runtime?.memory() }),
        (error: unknown) => post({ id, error: failure(error), memory: runtime?.memory() }),
      )
      .finally(() => controllers.delete(id));
  }
});
