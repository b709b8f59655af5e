// Devices: lost ones, the page's own, and what is held on them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, expected, openBoth, pageWith, relativeError, server } from "./harness.mjs";

let page;
openBoth();

const { x, picard } = expected.models.classifier;

/** A page in which every device that is opened can be got at, to destroy it as a crashed driver would. */
async function open() {
  page = await pageWith(browser, server.url);
  await page.evaluate((x) => {
    globalThis.x = new Float32Array(x);
    globalThis.devices = [];
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (...words) {
      const device = await requestDevice.apply(this, words);
      devices.push(device);
      return device;
    };
  }, x);
}

test("a device that is lost in mid-run is replaced, and the call gives what it would have given", async () => {
  await open();
  const found = await page.evaluate(async () => {
    const events = [];
    const runtime = await pkg.init();
    for (const type of ["device-lost", "device-restored"]) runtime.addEventListener(type, () => events.push(type));
    const model = await pkg.Model.load("/fixtures/classifier.safetensors");
    const other = await pkg.Model.load("/fixtures/toy.safetensors");
    const { z } = await model.encode(x);
    let calls = 0;
    const decoded = await model.decode(z, {
      onIteration: () => {
        calls += 1;
        if (calls === 5) devices.at(-1).destroy();
      },
    });
    const again = await model.encode(x);
    const toy = await other.encode(new Float32Array([1, 2]));
    return {
      events,
      devices: devices.length,
      data: plain(decoded.data),
      same: again.z.every((value, at) => value === z[at]),
      toy: toy.z.length,
    };
  });
  assert.deepEqual(found.events, ["device-lost", "device-restored"]);
  assert.equal(found.devices, 2);
  assert.ok(relativeError(found.data, picard.data) < 1e-4);
  assert.ok(found.same);
  assert.equal(found.toy, 2);
  await page.close();
});

test("a device that is lost between calls is replaced as well", async () => {
  await open();
  const same = await page.evaluate(async () => {
    const model = await pkg.Model.load("/fixtures/classifier.safetensors");
    const { z } = await model.encode(x);
    devices.at(-1).destroy();
    const again = await model.encode(x);
    return again.z.every((value, at) => value === z[at]);
  });
  assert.ok(same);
  await page.close();
});

test("a device that is lost a second time in one call ends it", async () => {
  await open();
  const found = await page.evaluate(async () => {
    const model = await pkg.Model.load("/fixtures/classifier.safetensors");
    const { z } = await model.encode(x);
    const lost = await failure(() => model.decode(z, { onIteration: () => devices.at(-1).destroy() }));
    const { z: later } = await model.encode(x);
    return { lost, works: later.every((value, at) => value === z[at]) };
  });
  assert.equal(found.lost.code, "DEVICE_LOST");
  assert.ok(found.works, "the next call has a device again");
  await page.close();
});

test("training goes on where a lost device ended it", async () => {
  await open();
  const found = await page.evaluate(async () => {
    const options = { data: "moons", steps: 12, batch: 64, blocks: 2, channels: 8, every: 4 };
    const [undisturbed, disturbed] = [[], []];
    (await pkg.train({ ...options, onProgress: ({ losses }) => void undisturbed.push(...losses) })).dispose();
    const onProgress = ({ losses, step }) => {
      disturbed.push(...losses);
      if (step === 4) devices.at(-1).destroy();
    };
    (await pkg.train({ ...options, onProgress })).dispose();
    return { undisturbed, disturbed, devices: devices.length };
  });
  assert.equal(found.devices, 2);
  assert.deepEqual(found.disturbed, found.undisturbed);
  await page.close();
});

test("the page's own device is used, is never destroyed, and its loss is told", async () => {
  await open();
  const found = await page.evaluate(async () => {
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice();
    const gpu = navigator.gpu;
    const runtime = await pkg.init({ device });
    const { external, adapter: about } = runtime;
    const model = await pkg.Model.load("/fixtures/classifier.safetensors");
    const { z } = await model.encode(x);
    const held = runtime.memory();
    runtime.dispose();
    const lost = await Promise.race([device.lost.then(() => true), new Promise((r) => setTimeout(r, 200, false))]);
    // Still of use to the page.
    device.createBuffer({ size: 16, usage: GPUBufferUsage.STORAGE }).destroy();
    await pkg.init({ device });
    const next = await pkg.Model.load("/fixtures/classifier.safetensors");
    await next.encode(x);
    device.destroy();
    const failed = await failure(() => next.encode(x));
    return { external, about, length: z.length, held, lost, failed, sameGpu: navigator.gpu === gpu, opened: devices.length };
  });
  assert.equal(found.external, true);
  assert.equal(found.about.vendor, "google");
  assert.equal(found.lost, false);
  assert.equal(found.failed.code, "DEVICE_LOST");
  assert.ok(found.sameGpu, "navigator.gpu is what it was");
  assert.equal(found.opened, 1, "no device but the page's own was opened");
  assert.ok(found.held.gpuBytes > 1000 && found.held.models === 1);
  await page.close();
});

test("too little memory is told, and the model goes on with less", async () => {
  await open();
  const found = await page.evaluate(async () => {
    const runtime = await pkg.init();
    const model = await pkg.Model.load("/fixtures/classifier.safetensors");
    const { z } = await model.encode(x);
    // A driver out of memory, as far as the page can play one: buffers above some size are refused.
    const { createBuffer } = GPUDevice.prototype;
    GPUDevice.prototype.createBuffer = function (descriptor) {
      const size = descriptor.size > 500_000 ? 2 ** 52 : descriptor.size;
      return createBuffer.call(this, { ...descriptor, size });
    };
    const failed = await failure(() => model.encode(new Float32Array(64 * 600)));
    GPUDevice.prototype.createBuffer = createBuffer;
    const later = await model.encode(x);
    return { failed, same: later.z.every((value, at) => value === z[at]), models: runtime.memory().models };
  });
  assert.match(found.failed.code, /^(OUT_OF_MEMORY|GPU)$/);
  assert.ok(found.same && found.models === 1);
  await page.close();
});

test("loading, inverting and disposing again and again holds nothing", async () => {
  await open();
  const { rounds } = await import("./leak.mjs");
  const found = await rounds(page, 30);
  assert.deepEqual([found.after.gpuBuffers, found.after.gpuBytes, found.after.models], [0, 0, 0]);
  assert.equal(found.after.wasmBytes, found.settled.wasmBytes);
  await page.close();
});
