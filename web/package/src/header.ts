import { fail } from './errors.js';
import type { Kind } from './types.js';

/** What the metadata of a model file say. The module has checked them. */
export interface Header {
  readonly step: number;
  readonly hash: string;
  readonly config: Config;
  readonly certificate?: {
    readonly blocks: readonly { readonly name: string; readonly constant: number }[];
  };
}

/** The parts of a configuration that matter here. */
export type Config = Record<string, unknown> & {
  readonly model: { readonly kind: Kind; readonly input: number[]; readonly classes: number; readonly architecture: string };
  readonly data: { readonly name: string; readonly normalize: boolean; readonly dequantize: boolean; readonly bits: number };
};

/** Reads the metadata of a model file. */
export function readHeader(bytes: Uint8Array): Header {
  try {
    const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getUint32(0, true);
    const text = new TextDecoder().decode(bytes.subarray(8, 8 + length));
    const header = JSON.parse(JSON.parse(text).__metadata__.iresnet) as Header;
    if (typeof header.config.model.architecture === 'string') return header;
  } catch {
    // Told below.
  }
  return fail('BAD_MODEL', 'not a model file of iresnet, or a damaged one: its header cannot be read');
}
