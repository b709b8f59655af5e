import { IResNetError, aborted, fail } from './errors.js';
import type { LoadOptions, ModelSource } from './types.js';

/** A model file's bytes, as a copy of our own. */
export async function download(source: ModelSource, options: LoadOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { signal, onProgress } = options;
  if (signal?.aborted) throw aborted(signal);
  if (source instanceof Uint8Array) return source.slice();
  if (source instanceof ArrayBuffer) return new Uint8Array(source.slice(0));
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  try {
    const response = source instanceof Response ? source : await fetch(source, signal ? { signal } : {});
    if (!response.ok) fail('NETWORK', `${response.url || 'the model'}: the server says ${response.status}`);
    if (response.bodyUsed) fail('INVALID_ARGUMENT', 'the body of this response has been read before');
    return await receive(response, signal, onProgress);
  } catch (error) {
    if (signal?.aborted) throw aborted(signal);
    if (error instanceof IResNetError) throw error;
    throw new IResNetError('NETWORK', `the model cannot be fetched: ${String(error)}`, error);
  }
}

async function receive(
  response: Response,
  signal: AbortSignal | undefined,
  onProgress: LoadOptions['onProgress'],
): Promise<Uint8Array<ArrayBuffer>> {
  // What is compressed on the way arrives longer than announced.
  const announced = response.headers.get('content-encoding') ? null : response.headers.get('content-length');
  const total = announced ? Number(announced) : undefined;
  const chunks: Uint8Array[] = [];
  let loaded = 0;
  const reader = response.body?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    if (signal?.aborted) {
      void reader.cancel();
      throw aborted(signal);
    }
    chunks.push(value);
    loaded += value.length;
    onProgress?.({ loaded, total });
  }
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
