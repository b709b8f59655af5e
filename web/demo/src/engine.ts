/** The package with all its work in a worker: the page's own thread only draws. */

import { Model, init, train, type ModelClass, type Runtime } from 'iresnet/worker';

export interface Engine {
  readonly runtime: Runtime;
  readonly Model: ModelClass;
  readonly train: typeof train;
}

/** Opens the device. */
export async function openEngine(): Promise<Engine> {
  return { runtime: await init(), Model, train };
}
