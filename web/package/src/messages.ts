import type { Header } from './header.js';
import type { AdapterSummary, ErrorCode, MemoryUse } from './types.js';

/** What a page asks of the worker. */
export type Order =
  | { readonly id: number; readonly model: number; readonly method: string; readonly args: unknown[]; readonly wants: string[] }
  | { readonly abort: number; readonly reason: unknown }
  | { readonly answer: number; readonly failed?: unknown };

/** What the worker says. */
export type Reply =
  | { readonly id: number; readonly value: unknown; readonly memory: MemoryUse | undefined }
  | { readonly id: number; readonly error: Failure; readonly memory: MemoryUse | undefined }
  | { readonly id: number; readonly callback: string; readonly payload: unknown; readonly question: number }
  | { readonly event: string; readonly detail: unknown };

/** An error on its way. */
export interface Failure {
  readonly code: ErrorCode | undefined;
  readonly message: string;
}

/** What a page must know of a model. */
export interface Description {
  readonly number: number;
  readonly header: Header;
  readonly inputLength: number;
  readonly latentLength: number;
  readonly blocks: number;
}

/** What a page must know of the runtime. */
export interface Opening {
  readonly adapter: AdapterSummary;
}

/** The buffers in a result, which can be handed over instead of copied. */
export function buffers(value: unknown): ArrayBuffer[] {
  if (typeof value !== 'object' || value === null) return [];
  if (ArrayBuffer.isView(value)) return value.buffer instanceof ArrayBuffer ? [value.buffer] : [];
  return [...new Set(Object.values(value).flatMap(buffers))];
}
