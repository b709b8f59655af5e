import type { ErrorCode } from './types.js';

/** What everything in this package fails with: an error with a {@link ErrorCode | code}. */
export class IResNetError extends Error {
  /** Why it failed. */
  readonly code: ErrorCode;

  /** An error with this code. `cause` is what led to it, if anything did. */
  constructor(code: ErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.name = code === 'ABORTED' ? 'AbortError' : 'IResNetError';
  }
}

/** An error of the module, whose text is a code, a line break and a message; anything else is a mistake of ours. */
export function fromModule(error: unknown): IResNetError {
  if (error instanceof IResNetError) return error;
  if (typeof error === 'string') {
    const end = error.indexOf('\n');
    return new IResNetError(error.slice(0, end) as ErrorCode, error.slice(end + 1));
  }
  return new IResNetError('INTERNAL', `this should not have happened: ${String(error)}`, error);
}

/** What a callback threw, on its way to whoever called. */
export class Thrown {
  readonly error: unknown;

  constructor(error: unknown) {
    this.error = error;
  }
}

export function fail(code: ErrorCode, message: string): never {
  throw new IResNetError(code, message);
}

/** Rejects as an aborted call does. */
export function aborted(signal: AbortSignal): IResNetError {
  return new IResNetError('ABORTED', 'the call was aborted', signal.reason);
}

export function check(holds: boolean, message: string): void {
  if (!holds) fail('INVALID_ARGUMENT', message);
}

export const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
