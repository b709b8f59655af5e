/**
 * Invertible residual networks on WebGPU: encode, invert, sample and train in the browser.
 *
 * @packageDocumentation
 */
export { IResNetError } from './errors.js';
export { Model } from './model.js';
export { detect, init } from './runtime.js';
export { train } from './train.js';
export type * from './types.js';
