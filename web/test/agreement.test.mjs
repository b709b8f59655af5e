// The browser computes what the native program computes, on the same models and inputs: small ones, and those of the demo
// with pictures.

import assert from "node:assert/strict";
import { test } from "node:test";
import { browser, expected, openBoth, pageWith, relativeError, requireAdapter, server } from "./harness.mjs";

/** Both round to f32, in their own order and with their own exp and log. */
const TOLERANCE = 1e-4;

let page;
openBoth(async () => {
  page = await pageWith(browser, server.url);
  console.log("adapter:", await requireAdapter(page));
});

const run = (name, work, argument) =>
  page.evaluate(
    async ([name, source, wanted, argument]) => {
      const model = await pkg.Model.load(`/fixtures/${name}.safetensors`);
      try {
        return plain(await new Function("model", "wanted", "argument", `return (${source})(model, wanted, argument)`)(model, wanted, argument));
      } finally {
        model.dispose();
      }
    },
    [name, work.toString(), expected.models[name], argument],
  );

function close(found, wanted, what) {
  const error = relativeError(found, wanted);
  assert.ok(error < TOLERANCE, `${what}: relative error ${error}`);
}

for (const [name, wanted] of Object.entries(expected.models)) {
  test(`${name}: latent numbers and logits`, async () => {
    const found = await run(name, (model, wanted) => model.encode(new Float32Array(wanted.x)));
    close(found.z, wanted.z, "z");
    assert.equal(found.width, wanted.latent);
    if (wanted.logits) close(found.logits, wanted.logits, "logits");
  });

  for (const solver of ["picard", "anderson"].filter((solver) => wanted[solver])) {
    test(`${name}: the way back by ${solver}`, async () => {
      const found = await run(name, (model, wanted, solver) => model.decode(new Float32Array(wanted.z), { solver }), solver);
      close(found.data, wanted[solver].data, "x");
      assert.deepEqual(found.converged, wanted[solver].converged);
      assert.deepEqual(found.shape, wanted.shape);
      // A round more or less for each of four blocks, where a change is all but equal to the tolerance. Accelerated, changes do
      // not shrink steadily but wander once they are rounding's, so that rounding decides how many there are.
      const allowed = solver === "picard" ? 4 : Infinity;
      found.iterations.forEach((count, at) => assert.ok(Math.abs(count - wanted[solver].iterations[at]) <= allowed));
    });
  }

  if (wanted.logProb) {
    test(`${name}: log-densities`, async () => {
      const { seed, terms, probes } = expected;
      const found = await run(
        name,
        (model, wanted, options) => model.logProb(new Float32Array(wanted.x), options),
        { seed, terms, probes },
      );
      for (const key of ["logProb", "logPrior", "logDet"]) close(found[key], wanted[key], key);
      if (wanted.bitsPerDim) close(found.bitsPerDim, wanted.bitsPerDim, "bits per dimension");
    });

    test(`${name}: samples of equal seeds`, async () => {
      const { seed, temperature, drawn } = expected;
      const draw = (model, _, [n, options]) => model.sample(n, options);
      const found = await run(name, draw, [drawn, { seed, temperature }]);
      close(found.data, wanted.sampled, "samples");
      const others = await run(name, draw, [drawn, { seed: seed + 1, temperature }]);
      assert.ok(relativeError(others.data, wanted.sampled) > 0.01, "another seed gives other samples");
    });
  }
}
