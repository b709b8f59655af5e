// What the package promises besides numbers: how it fails, and what it survives. Once on the page, once in a worker.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browser, expected, launch, openBoth, pageWith, relativeError, requireAdapter, server } from "./harness.mjs";

openBoth();

const { x } = expected.models.classifier;
const INPUT = 64;

for (const entry of ["index", "worker"]) {
  describe(`iresnet/${entry}`, () => {
    let page;
    before(async () => {
      page = await pageWith(browser, server.url, entry);
      console.log("adapter:", await requireAdapter(page));
      await page.evaluate(async (x) => {
        globalThis.x = new Float32Array(x);
        globalThis.load = (name) => pkg.Model.load(`/fixtures/${name}.safetensors`);
        globalThis.model = await load("classifier");
      }, x);
    });
    after(() => page?.close());

    test("init gives one runtime, however often it is called", async () => {
      const same = await page.evaluate(async () => {
        const all = await Promise.all([pkg.init(), pkg.init(), pkg.init({})]);
        return all.every((runtime) => runtime === all[0]) && all[0].backend === "webgpu" && all[0].external === false;
      });
      assert.ok(same);
    });

    test("detect tells what is there", async () => {
      const found = await page.evaluate(() => pkg.detect());
      assert.equal(found.webgpu, true);
      assert.equal(found.adapter.architecture, "swiftshader");
      assert.equal(found.adapter.fallback, true);
      assert.match(found.reasons[0], /processor/);
      assert.ok(found.limits.maxBufferSize >= 2 ** 28);
    });

    test("a model says what it is", async () => {
      const found = await page.evaluate(async () => {
        const { kind, inputShape, inputLength, latentLength, blocks, classes, disposed } = model;
        return { kind, inputShape, inputLength, latentLength, blocks, classes, disposed, about: await model.inspect() };
      });
      const { about, ...rest } = found;
      assert.deepEqual(rest, {
        kind: "classifier",
        inputShape: [1, 8, 8],
        inputLength: INPUT,
        latentLength: 3 * INPUT,
        blocks: 4,
        classes: 3,
        disposed: false,
      });
      assert.equal(about.hash, expected.models.classifier.hash);
      assert.equal(about.blocks.length, 4);
      assert.deepEqual(about.blocks[0].input, [3, 8, 8]);
      assert.equal(about.blocks[0].name, "stack.0");
      assert.equal(about.config.model.coefficient, 0.8);
      assert.ok(about.parameters > 1000 && about.multiplyAdds > 1000);
      assert.equal(about.invertible, undefined);
    });

    test("classes have probabilities", async () => {
      const found = await page.evaluate(async () => plain(await model.classify(x)));
      assert.equal(found.classes.length, 3);
      for (let sample = 0; sample < 3; sample += 1) {
        const row = found.probabilities.slice(3 * sample, 3 * sample + 3);
        assert.ok(Math.abs(row.reduce((sum, value) => sum + value, 0) - 1) < 1e-5);
        assert.equal(row.indexOf(Math.max(...row)), found.classes[sample]);
      }
    });

    test("encoding and the way back meet, with every iteration told", async () => {
      const found = await page.evaluate(async () => {
        const steps = [];
        const result = await model.invert(x, { images: true, onIteration: (step) => void steps.push(plain(step)) });
        return { result: plain(result), steps };
      });
      const { result, steps } = found;
      assert.ok(Math.max(...result.largestError) < 1e-4, `${result.largestError}`);
      assert.ok(result.converged.every(Boolean));
      assert.equal(steps[0].block, 3);
      assert.equal(steps.at(-1).block, 0);
      assert.equal(steps[0].iteration, 1);
      steps.forEach((step, at) => assert.equal(step.total, at + 1));
      assert.ok(steps.every((step) => step.blocks === 4 && step.first === 0 && step.residual.length === 3));
      // What is seen comes nearer to the image, block after block, and ends there.
      const distance = (step) => relativeError(step.x, x);
      assert.ok(distance(steps.at(-1)) < 1e-4, `${distance(steps.at(-1))}`);
      assert.ok(distance(steps[0]) > 10 * distance(steps.at(-1)));
      // Residuals of a contraction fall.
      const ofLast = steps.filter((step) => step.block === 0).map((step) => Math.max(...step.residual));
      assert.ok(ofLast.length > 3 && ofLast.at(-1) < ofLast[0] / 100);
    });

    test("without a callback the result is the same", async () => {
      const [told, untold] = await page.evaluate(async () => {
        const { z } = await model.encode(x);
        const results = [await model.decode(z, { onIteration: async () => {} }), await model.decode(z)];
        return plain(results);
      });
      assert.deepEqual(told, untold);
    });

    test("the twin without a constraint does not come back, and says so", async () => {
      const found = await page.evaluate(async () => {
        const twin = await load("twin");
        const { z } = await twin.encode(x);
        const result = await twin.decode(z, { iterations: 30 });
        const strict = await failure(() => twin.decode(z, { iterations: 30, strict: true }));
        twin.dispose();
        return { converged: result.converged, strict };
      });
      assert.ok(found.converged.includes(false));
      assert.equal(found.strict.code, "NOT_CONVERGED");
      assert.ok(found.strict.ours);
    });

    test("wrong shapes and options are told", async () => {
      const codes = await page.evaluate(async () => {
        const toy = await load("toy");
        const all = {
          length: await failure(() => model.encode(x.subarray(1))),
          none: await failure(() => model.encode(new Float32Array())),
          kind: await failure(() => model.encode([1, 2])),
          latent: await failure(() => model.decode(x.subarray(0, 63))),
          solver: await failure(() => model.decode(new Float32Array(192), { solver: "newton" })),
          iterations: await failure(() => model.decode(new Float32Array(192), { iterations: 0 })),
          tolerance: await failure(() => model.decode(new Float32Array(192), { tolerance: -1 })),
          density: await failure(() => model.logProb(x)),
          sample: await failure(() => model.sample(1)),
          classes: await failure(() => toy.classify(new Float32Array(2))),
          count: await failure(() => toy.sample(1.5)),
          seed: await failure(() => toy.sample(1, { seed: -1 })),
        };
        toy.dispose();
        return Object.fromEntries(Object.entries(all).map(([key, { code }]) => [key, code]));
      });
      assert.deepEqual(codes, {
        length: "SHAPE_MISMATCH",
        none: "SHAPE_MISMATCH",
        kind: "INVALID_ARGUMENT",
        latent: "SHAPE_MISMATCH",
        solver: "INVALID_ARGUMENT",
        iterations: "INVALID_ARGUMENT",
        tolerance: "INVALID_ARGUMENT",
        density: "UNSUPPORTED",
        sample: "UNSUPPORTED",
        classes: "UNSUPPORTED",
        count: "INVALID_ARGUMENT",
        seed: "INVALID_ARGUMENT",
      });
    });

    test("damaged and foreign files are refused", async () => {
      const found = await page.evaluate(async () => {
        const response = await fetch("/fixtures/toy.safetensors");
        const bytes = new Uint8Array(await response.arrayBuffer());
        const flipped = bytes.slice();
        flipped[flipped.length - 5] ^= 1;
        return {
          truncated: await failure(() => pkg.Model.load(bytes.slice(0, 500))),
          flipped: await failure(() => pkg.Model.load(flipped)),
          foreign: await failure(() => pkg.Model.load(new TextEncoder().encode("<!doctype html><p>404"))),
          empty: await failure(() => pkg.Model.load(new ArrayBuffer(0))),
          missing: await failure(() => pkg.Model.load("/fixtures/none.safetensors")),
        };
      });
      for (const [key, code] of [
        ["truncated", "BAD_MODEL"],
        ["flipped", "BAD_MODEL"],
        ["foreign", "BAD_MODEL"],
        ["empty", "BAD_MODEL"],
        ["missing", "NETWORK"],
      ]) {
        assert.equal(found[key].code, code, `${key}: ${found[key].message}`);
      }
      assert.match(found.flipped.message, /hash|damaged/);
    });

    test("a download says how far it is, and all kinds of sources are read", async () => {
      const found = await page.evaluate(async () => {
        const progress = [];
        const url = "/fixtures/toy.safetensors";
        const first = await pkg.Model.load(url, { onProgress: (at) => void progress.push(at) });
        const bytes = await (await fetch(url)).arrayBuffer();
        const sources = [bytes, new Uint8Array(bytes), new Blob([bytes]), await fetch(url), new URL(url, location.href)];
        const models = [first];
        for (const source of sources) models.push(await pkg.Model.load(source));
        const kinds = models.map(({ kind }) => kind);
        const saved = await first.save();
        const equal = saved.every((byte, at) => byte === new Uint8Array(bytes)[at]);
        models.forEach((model) => model.dispose());
        return { kinds, last: progress.at(-1), length: bytes.byteLength, equal };
      });
      assert.deepEqual(found.kinds, Array(6).fill("toy"));
      assert.deepEqual(found.last, { loaded: found.length, total: found.length });
      assert.ok(found.equal);
    });

    test("an aborted call rejects at once, and the model goes on", async () => {
      const found = await page.evaluate(async () => {
        const controller = new AbortController();
        const { z } = await model.encode(x);
        let calls = 0;
        const running = failure(() =>
          model.decode(z, {
            tolerance: 0,
            iterations: 5000,
            signal: controller.signal,
            onIteration: () => {
              calls += 1;
              if (calls === 3) controller.abort(new Error("enough"));
            },
          }),
        );
        const waiting = failure(() => model.encode(x, { signal: controller.signal }));
        const before = await failure(() => model.encode(x, { signal: AbortSignal.abort() }));
        const after = await model.encode(x);
        return { running: await running, waiting: await waiting, before, calls, same: after.z.every((v, at) => v === z[at]) };
      });
      for (const key of ["running", "waiting", "before"]) {
        assert.equal(found[key].code, "ABORTED", key);
        assert.equal(found[key].name, "AbortError");
      }
      assert.ok(found.calls <= 4 && found.same);
    });

    test("what a callback throws ends the call with it", async () => {
      const message = await page.evaluate(async () => {
        const { z } = await model.encode(x);
        const error = new TypeError("mine");
        try {
          await model.decode(z, { onIteration: () => Promise.reject(error) });
        } catch (thrown) {
          return thrown === error;
        }
        return false;
      });
      // A worker's callbacks run on the page, so the error is the very same there too.
      assert.equal(message, true);
    });

    test("a model that was disposed of says so, also to calls under way", async () => {
      const found = await page.evaluate(async () => {
        const toy = await load("toy");
        const { z } = await toy.encode(new Float32Array([0.1, 0.2]));
        const running = failure(() => toy.decode(z, { tolerance: 0, iterations: 100000 }));
        const waiting = failure(() => toy.encode(z));
        await new Promise((resolve) => setTimeout(resolve, 30));
        toy.dispose();
        toy[Symbol.dispose]();
        const later = await failure(() => toy.encode(z));
        return { codes: [(await running).code, (await waiting).code, later.code], disposed: toy.disposed };
      });
      assert.deepEqual(found, { codes: ["DISPOSED", "DISPOSED", "DISPOSED"], disposed: true });
    });

    test("calls wait for each other and keep their order", async () => {
      const order = await page.evaluate(async () => {
        const order = [];
        const calls = [0, 1, 2, 3].map((number) => model.encode(x).then(() => order.push(number)));
        await Promise.all(calls);
        return order;
      });
      assert.deepEqual(order, [0, 1, 2, 3]);
    });

    test("many samples are computed in parts, as if at once", async () => {
      const found = await page.evaluate(async () => {
        const toy = await load("toy");
        const points = Float32Array.from({ length: 2 * 5000 }, (_, at) => Math.sin(at));
        const all = await toy.encode(points);
        const last = await toy.encode(points.subarray(2 * 4990));
        const back = await toy.decode(all.z);
        toy.dispose();
        const difference = (a, b) => a.reduce((most, value, at) => Math.max(most, Math.abs(value - b[at])), 0);
        return { parts: difference(last.z, all.z.subarray(2 * 4990)), back: difference(points, back.data) };
      });
      assert.ok(found.parts < 1e-5 && found.back < 1e-4, JSON.stringify(found));
    });

    test("pixels and samples go together", async () => {
      const found = await page.evaluate(() => {
        const data = Uint8ClampedArray.from({ length: 4 * 64 }, (_, at) => (at % 4 === 3 ? 255 : 4 * Math.floor(at / 4)));
        const x = model.fromPixels({ data, width: 8, height: 8 });
        const back = model.toPixels(x);
        return { x: plain(x), same: back.data.every((byte, at) => byte === data[at]), width: back.width };
      });
      assert.ok(found.same && found.width === 8);
      assert.ok(Math.abs(found.x[0] + 0.5) < 1e-6 && Math.abs(found.x[63] - (252 / 255 - 0.5)) < 1e-6);
    });

    test("a density is learned, can be used while it is, and is a file afterwards", async () => {
      const found = await page.evaluate(async () => {
        const progress = [];
        const short = { steps: 60, batch: 128, blocks: 4, channels: 16, learningRate: 0.03 };
        const options = { data: "8gaussians", ...short, every: 20, seed: 3 };
        const model = await pkg.train({
          ...options,
          onProgress: async ({ model, ...rest }) => {
            const { data } = await model.sample(4, { seed: 1 });
            progress.push(plain({ ...rest, samples: data.length, finite: data.every(Number.isFinite) }));
          },
        });
        const again = await pkg.train(options);
        const points = new Float32Array([0, 0, 2.8, 0]);
        const [one, two] = [await model.logProb(points), await again.logProb(points)];
        const copy = await pkg.Model.load(await model.save());
        const three = await copy.logProb(points);
        const own = await pkg.train({ data: new Float32Array([0, 0, 1, 1, 1, 0]), steps: 2, blocks: 1, channels: 4 });
        for (const each of [model, again, copy, own]) each.dispose();
        return { progress, one: plain(one.logProb), two: plain(two.logProb), three: plain(three.logProb) };
      });
      assert.deepEqual(found.progress.map(({ step }) => step), [20, 40, 60]);
      assert.ok(found.progress.every(({ losses, samples, finite }) => losses.length === 20 && samples === 8 && finite));
      assert.ok(found.progress[2].loss < found.progress[0].loss - 0.2, JSON.stringify(found.progress.map(({ loss }) => loss)));
      assert.ok(found.one[1] > found.one[0], "there is more where the points are");
      assert.deepEqual(found.two, found.one, "equal seeds give equal models");
      assert.deepEqual(found.three, found.one);
    });

    test("training tells what is wrong with its options", async () => {
      const codes = await page.evaluate(async () => {
        const errors = [
          await failure(() => pkg.train({ data: "9gaussians" })),
          await failure(() => pkg.train({ data: new Float32Array(3) })),
          await failure(() => pkg.train({ data: "moons", coefficient: 1 })),
          await failure(() => pkg.train({ data: "moons", steps: 0 })),
          await failure(() => pkg.train({ data: "moons", signal: AbortSignal.abort() })),
        ];
        return errors.map(({ code }) => code);
      });
      assert.deepEqual(codes, ["INVALID_ARGUMENT", "SHAPE_MISMATCH", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "ABORTED"]);
    });

    test("a runtime that was disposed of can be opened again", async () => {
      const found = await page.evaluate(async () => {
        const runtime = await pkg.init();
        runtime.dispose();
        const gone = await failure(() => model.encode(x));
        globalThis.model = await load("classifier");
        const { z } = await model.encode(x);
        return { gone: gone.code, other: (await pkg.init()) !== runtime, length: z.length };
      });
      assert.equal(found.other, true);
      assert.equal(found.length, 3 * 3 * INPUT);
      assert.equal(found.gone, "DISPOSED");
    });
  });
}

test("missing WebGPU is told, and nothing else is tried", async () => {
  const without = await launch({ webgpu: false });
  try {
    for (const entry of ["index", "worker"]) {
      const page = await pageWith(without, server.url, entry);
      const found = await page.evaluate(async () => ({
        detected: await pkg.detect(),
        init: await failure(() => pkg.init()),
        load: await failure(() => pkg.Model.load("/fixtures/toy.safetensors")),
      }));
      assert.equal(found.detected.webgpu, false);
      assert.ok(found.detected.reasons[0].length > 10);
      assert.match(found.init.code, /^NO_(WEBGPU|ADAPTER)$/);
      assert.equal(found.load.code, found.init.code);
      await page.close();
    }
  } finally {
    await without.close();
  }
});

test("code that cannot be loaded is told", async () => {
  const page = await pageWith(browser, server.url);
  const found = await page.evaluate(() => failure(() => pkg.init({ wasm: "/nowhere/iresnet_bg.wasm" })));
  assert.equal(found.code, "WASM");
  // And it may be tried again.
  assert.equal(await page.evaluate(async () => (await pkg.init({ wasm: "/dist/iresnet_bg.wasm" })).backend), "webgpu");
  await page.close();
});

test("the main thread has no long task while a worker rebuilds images", async () => {
  const page = await pageWith(browser, server.url, "worker");
  const longest = await page.evaluate(async () => {
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({
      type: "longtask",
    });
    const model = await pkg.Model.load("/fixtures/classifier.safetensors");
    const x = Float32Array.from({ length: 16 * 64 }, (_, at) => Math.sin(at));
    await model.invert(x, { images: true, onIteration: () => {} });
    await new Promise((resolve) => setTimeout(resolve, 100));
    return Math.max(0, ...tasks);
  });
  assert.ok(longest < 100, `${longest} ms`);
  await page.close();
});
