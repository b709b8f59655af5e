// Every example of the package's README runs.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { browser, fixtures, openBoth, repository, server } from "./harness.mjs";

const text = readFileSync(join(repository, "web/package/README.md"), "utf8");
const examples = [...text.matchAll(/^## (.+)$|^```js\n([\s\S]*?)^```$/gm)];

openBoth();

const FILES = { "/model.safetensors": "classifier", "/density.safetensors": "density" };

let heading = "";
let count = 0;
for (const [, title, code] of examples) {
  if (title) {
    heading = title;
    continue;
  }
  count += 1;
  test(`README: ${heading}`, async () => {
    const page = await browser.newPage();
    const errors = [];
    page.on("pageerror", (error) => errors.push(error.message));
    for (const [path, name] of Object.entries(FILES)) {
      await page.route(`**${path}`, (route) => route.fulfill({ path: join(fixtures, `${name}.safetensors`) }));
    }
    await page.goto(`${server.url}/`);
    const imports = { iresnet: "/dist/index.js", "iresnet/worker": "/dist/worker.js" };
    const outcome = await page.evaluate(
      ([code, imports]) =>
        new Promise((resolve) => {
          const map = document.createElement("script");
          map.type = "importmap";
          map.textContent = JSON.stringify({ imports });
          const script = document.createElement("script");
          script.type = "module";
          globalThis.ended = () => resolve("ended");
          addEventListener("error", (event) => resolve(event.message));
          addEventListener("unhandledrejection", (event) => resolve(String(event.reason)));
          script.textContent = `${code}\nended();`;
          document.head.append(map, script);
        }),
      [code, imports],
    );
    assert.equal(outcome, "ended");
    assert.deepEqual(errors, []);
    await page.close();
  });
}
assert.ok(count >= 6, "the README has examples");
