/** Numbers as people read them. */

const SUPERSCRIPTS: Record<string, string> = {
  '-': '⁻',
  '0': '⁰',
  '1': '¹',
  '2': '²',
  '3': '³',
  '4': '⁴',
  '5': '⁵',
  '6': '⁶',
  '7': '⁷',
  '8': '⁸',
  '9': '⁹',
};

/** A power of ten, such as 10⁻⁶. */
export function powerOfTen(exponent: number): string {
  return `10${String(exponent).replace(/[-0-9]/g, (digit) => SUPERSCRIPTS[digit] ?? digit)}`;
}

/** A number of any size with two digits: 0.25, 13, 2.1 × 10⁻⁶. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return 'no number any more';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 0.01 && size < 10_000) return String(Number(value.toPrecision(size >= 100 ? 3 : 2)));
  const [mantissa, exponent] = value.toExponential(1).split('e');
  return `${mantissa} × ${powerOfTen(Number(exponent))}`;
}

/** A duration: 340 ms, 2.1 s, 95 s. */
export function duration(milliseconds: number): string {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  return `${(milliseconds / 1000).toFixed(milliseconds < 10_000 ? 1 : 0)} s`;
}

/** A size: 512 KB, 3.4 MB. */
export function bytes(count: number): string {
  return count < 1e6 ? `${Math.round(count / 1e3)} KB` : `${(count / 1e6).toFixed(1)} MB`;
}

/** A share: 89.3 %. */
export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
