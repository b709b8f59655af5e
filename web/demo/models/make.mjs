// Trains the models of the demo page, evaluates them, and writes them with their numbers into public/models.
//
//     node models/make.mjs [NAME…]        classifier, twin, density; all of them by default
//
// IRESNET names the program (by default target/release/iresnet of this repository). Fashion-MNIST must be there:
// `iresnet data fetch fashion-mnist`. Runs are kept in models/runs; one that was interrupted goes on, one that is finished
// is only evaluated again.

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const here = fileURLToPath(new URL('.', import.meta.url));
const program = process.env.IRESNET ?? join(here, '../../../target/release/iresnet');
const target = join(here, '../public/models');
const work = join(here, 'runs');

/** Levels of the halved pictures: 5 bits. */
const LEVELS = 32;

/** One file of Fashion-MNIST: what follows the header. */
function official(name, header) {
  const folders = [process.env.IRESNET_DATA, join(homedir(), '.cache/iresnet/datasets')].filter(Boolean);
  for (const folder of folders) {
    const path = join(folder, 'fashion-mnist', name);
    if (existsSync(path)) return readFileSync(path).subarray(header);
    if (existsSync(`${path}.gz`)) return gunzipSync(readFileSync(`${path}.gz`)).subarray(header);
  }
  throw new Error(`${name} is in none of ${folders.join(', ')}: run \`iresnet data fetch fashion-mnist\``);
}

/** 28×28 bytes, padded to 32×32, averaged over 2×2, rounded to LEVELS levels, centred: 16×16 numbers in [−½, ½). */
function halved(bytes) {
  const count = bytes.length / 784;
  const out = new Float32Array(count * 256);
  for (let n = 0; n < count; n++) {
    for (let row = 0; row < 16; row++) {
      for (let column = 0; column < 16; column++) {
        let sum = 0;
        for (const [dy, dx] of [[-2, -2], [-2, -1], [-1, -2], [-1, -1]]) {
          const [y, x] = [2 * row + dy, 2 * column + dx];
          if (y >= 0 && y < 28 && x >= 0 && x < 28) sum += bytes[n * 784 + y * 28 + x];
        }
        out[n * 256 + row * 16 + column] = Math.floor((sum / 4 / 256) * LEVELS) / LEVELS - 0.5;
      }
    }
  }
  return out;
}

/** A safetensors file of f32 arrays of shape (N, 1, 16, 16). */
function writeArrays(path, arrays) {
  const header = {};
  let offset = 0;
  for (const [name, numbers] of Object.entries(arrays)) {
    const end = offset + numbers.byteLength;
    header[name] = { dtype: 'F32', shape: [numbers.length / 256, 1, 16, 16], data_offsets: [offset, end] };
    offset = end;
  }
  const text = JSON.stringify(header);
  const head = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(head.length));
  const parts = Object.values(arrays).map((numbers) => Buffer.from(numbers.buffer));
  writeFileSync(path, Buffer.concat([length, head, ...parts]));
}

/** Runs the program in the folder of runs; the arrays' name is relative to it. */
function iresnet(...args) {
  console.log(`iresnet ${args.join(' ')}`);
  execFileSync(program, args, { cwd: work, stdio: 'inherit' });
}

/** What the program answers with --json. `verify` ends with 9 where something does not hold: that is an answer too. */
function answer(...args) {
  console.log(`iresnet ${args.join(' ')}`);
  const { stdout, status } = spawnSync(program, args, { cwd: work, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0 && status !== 9) throw new Error(`iresnet ${args.join(' ')} ended with ${status}`);
  return JSON.parse(stdout);
}

/** Trains (or goes on), evaluates and verifies one model. */
function make(name) {
  const run = join(work, name);
  const finished = join(run, 'model.safetensors');
  if (!existsSync(finished)) {
    if (existsSync(run)) iresnet('train', '--out', name, '--resume');
    else iresnet('train', join(here, `${name}.toml`), '--out', name);
  }
  const limit = name === 'density' ? ['--limit', '500', '--standard-error', '0.002'] : [];
  const test = answer('eval', name, '--json', ...limit);
  const { round_trip } = answer('verify', name, '--samples', '16', '--json');
  const about = answer('inspect', name, '--json');
  const file = `${name}.safetensors`;
  copyFileSync(finished, join(target, file));
  chmodSync(join(target, file), 0o644);
  return {
    file,
    bytes: statSync(finished).size,
    configuration: `web/demo/models/${name}.toml`,
    kind: about.kind,
    parameters: about.parameters,
    steps: about.step,
    hash: about.hash,
    test,
    round_trip,
  };
}

mkdirSync(work, { recursive: true });
mkdirSync(target, { recursive: true });
const asked = process.argv.slice(2);
const names = asked.length > 0 ? asked : ['classifier', 'twin', 'density'];
const arrays = join(work, 'fashion-mnist-16.safetensors');
if (names.includes('density') && !existsSync(arrays)) {
  const x = halved(official('train-images-idx3-ubyte', 16));
  const x_test = halved(official('t10k-images-idx3-ubyte', 16));
  writeArrays(arrays, { x, x_test });
}
const list = join(target, 'models.json');
const models = existsSync(list) ? JSON.parse(readFileSync(list, 'utf8')) : {};
for (const name of names) {
  models[name] = make(name);
  writeFileSync(list, `${JSON.stringify(models, null, 2)}\n`);
}
const total = Object.values(models).reduce((sum, { bytes }) => sum + bytes, 0);
console.log(`${(total / 1e6).toFixed(2)} MB of models`);
if (total > 4e6) throw new Error('the models are larger than 4 MB');
