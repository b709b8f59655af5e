import init, { open, type Device } from './bindings/iresnet.js';
import { IResNetError, fail, fromModule } from './errors.js';
import type { AdapterSummary, Detection, InitOptions, WasmSource } from './types.js';

/** Limits that are asked for as far as the adapter goes; the others stay what WebGPU guarantees. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupsPerDimension',
] as const;

/** What {@link init} takes, for others that open a device. */
export type DeviceOptions = Pick<InitOptions, 'adapter' | 'device'>;

/** A device that the module computes on. */
export interface Opened {
  readonly handle: GPUDevice;
  readonly module: Device;
  readonly adapter: AdapterSummary;
}

let memory: WebAssembly.Memory | undefined;
let loading: Promise<void> | undefined;

/** Bytes of the module's memory. */
export const wasmBytes = (): number => memory?.buffer.byteLength ?? 0;

/** Loads the module's code, once. */
export async function loadModule(source: WasmSource | undefined): Promise<void> {
  loading ??= init({ module_or_path: source ?? new URL('./iresnet_bg.wasm', import.meta.url) }).then(
    (module) => {
      memory = module.memory;
    },
    (error: unknown) => {
      loading = undefined;
      throw new IResNetError('WASM', `the module could not be loaded: ${String(error)}`, error);
    },
  );
  await loading;
}

function summary(info: GPUAdapterInfo | undefined, adapter?: GPUAdapter): AdapterSummary {
  const text = (key: 'vendor' | 'architecture' | 'device' | 'description') => info?.[key] ?? '';
  const fallback = info?.isFallbackAdapter ?? (adapter as { isFallbackAdapter?: boolean } | undefined)?.isFallbackAdapter;
  return {
    vendor: text('vendor'),
    architecture: text('architecture'),
    device: text('device'),
    description: text('description'),
    fallback: fallback ?? false,
  };
}

const webgpu = (): GPU | undefined => (globalThis.navigator as { gpu?: GPU } | undefined)?.gpu;

function missing(): string {
  return globalThis.isSecureContext === false
    ? 'WebGPU works on pages served by https or from localhost only'
    : 'this browser has no WebGPU: use a current Chrome, Edge, Safari or Firefox';
}

const NO_ADAPTER = 'the browser has WebGPU but offers no adapter: is hardware acceleration switched off?';

async function request(options: GPURequestAdapterOptions | undefined): Promise<GPUAdapter> {
  const gpu = webgpu() ?? fail('NO_WEBGPU', missing());
  const adapter = await gpu.requestAdapter(options ?? { powerPreference: 'high-performance' });
  return adapter ?? fail('NO_ADAPTER', NO_ADAPTER);
}

/** What can run here, without opening anything. */
export async function detect(options: GPURequestAdapterOptions = {}): Promise<Detection> {
  try {
    const adapter = await request(options);
    const info = summary(adapter.info, adapter);
    const { maxBufferSize, maxStorageBufferBindingSize } = adapter.limits;
    const reasons = info.fallback ? ['the adapter computes on the processor, which is slow'] : [];
    return { webgpu: true, adapter: info, limits: { maxBufferSize, maxStorageBufferBindingSize }, reasons };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { webgpu: false, adapter: undefined, limits: undefined, reasons: [reason] };
  }
}

/** Opens a device, or takes the page's own. */
export async function openDevice(options: DeviceOptions): Promise<Opened> {
  let handle = options.device;
  let adapter: AdapterSummary;
  if (handle) {
    adapter = summary(handle.adapterInfo);
  } else {
    const found = await request(options.adapter);
    adapter = summary(found.info, found);
    const requiredLimits = Object.fromEntries(LIMITS.map((name) => [name, found.limits[name]]));
    try {
      handle = await found.requestDevice({ label: 'iresnet', requiredLimits });
    } catch (error) {
      throw new IResNetError('NO_ADAPTER', `the adapter cannot be opened: ${String(error)}`, error);
    }
  }
  return { handle, module: await attach(handle, adapter), adapter };
}

/**
 * Has the module compute on `device`. The module's wgpu knows only to ask `navigator.gpu`, so that answers with this
 * device for the moment in which it is asked.
 */
async function attach(device: GPUDevice, adapter: AdapterSummary): Promise<Device> {
  const info = { ...adapter, isFallbackAdapter: adapter.fallback, subgroupMinSize: 4, subgroupMaxSize: 128 };
  const { features, limits } = device;
  const value = { requestAdapter: async () => ({ features, limits, info, requestDevice: async () => device }) };
  const own = Object.getOwnPropertyDescriptor(navigator, 'gpu');
  let opening: Promise<Device>;
  Object.defineProperty(navigator, 'gpu', { value, configurable: true });
  try {
    opening = open() as Promise<Device>;
  } finally {
    if (own) Object.defineProperty(navigator, 'gpu', own);
    else delete (navigator as { gpu?: unknown }).gpu;
  }
  return opening.catch((error: unknown) => {
    throw fromModule(error);
  });
}
