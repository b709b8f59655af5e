import { IResNetError, Model, detect, init, train, type Decoded, type ErrorCode, type InvertibleModel } from 'iresnet';
import * as worker from 'iresnet/worker';

export async function use(bytes: ArrayBuffer, device: GPUDevice): Promise<Decoded> {
  const { webgpu, reasons } = await detect();
  if (!webgpu) throw new Error(reasons.join(', '));
  using runtime = await init({ device });
  runtime.addEventListener('device-lost', ({ detail }) => console.log(detail.reason));
  const model: InvertibleModel = await Model.load(bytes, { signal: AbortSignal.timeout(1000) });
  const { z } = await model.encode(new Float32Array(model.inputLength));
  try {
    return await model.decode(z, { solver: 'anderson', onIteration: ({ residual }) => console.log(residual[0]) });
  } catch (error) {
    const code: ErrorCode = error instanceof IResNetError ? error.code : 'INTERNAL';
    // @ts-expect-error there is no such solver
    return await model.decode(z, { solver: code });
  }
}

export const learned: Promise<InvertibleModel> = train({ data: 'moons', onProgress: ({ loss }) => console.log(loss) });
export const remote: Promise<InvertibleModel> = worker.Model.load(new URL('https://example.org/model.safetensors'));
