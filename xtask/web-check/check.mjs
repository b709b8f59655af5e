// Has Tint, the shader compiler of Chromium, compile every module, through WebGPU on the browser's software driver.
//
//     node check.mjs CHROMIUM MODULES FIXTURES
//
// Each .wgsl file in MODULES must compile into a pipeline; there must be at least one. To know that the check can fail,
// the fixtures are compiled as well: those named good-* must pass, those named barrier-* and float-atomic-* must not.

import { appendFile, readFile, readdir } from "node:fs/promises";
import { createServer } from "node:http";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { FLAGS } from "../../web/chromium.mjs";

const [browserPath, modules, fixtures] = process.argv.slice(2);
const folders = { modules, fixtures };
const list = async (folder) =>
  (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".wgsl")).sort();

// WebGPU exists only in a secure context; 127.0.0.1 is one.
const server = createServer(async (request, response) => {
  const [folder, name] = decodeURIComponent(request.url).split("/").slice(1);
  try {
    if (!folder) {
      response.setHeader("content-type", "text/html");
      response.end("<!doctype html><title>shaders</title><script src=/page.js></script>");
    } else if (folder === "page.js") {
      response.setHeader("content-type", "text/javascript");
      response.end(await readFile(fileURLToPath(new URL("page.js", import.meta.url))));
    } else {
      response.end(await readFile(join(folders[folder], basename(name))));
    }
  } catch {
    response.statusCode = 404;
    response.end();
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));

const browser = await chromium.launch({ executablePath: browserPath, args: FLAGS });
let failures = 0;
const fail = (message) => {
  failures += 1;
  console.log(message);
};
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const adapter = await page.evaluate(() => globalThis.openAdapter());
  if (adapter === null) throw new Error("navigator.gpu.requestAdapter() gave no adapter");
  console.log(`Chromium ${browser.version()}, WebGPU adapter: ${adapter}`);
  if (process.env.IRESNET_ADAPTER_LOG) {
    await appendFile(process.env.IRESNET_ADAPTER_LOG, `${adapter} (browser)\n`);
  }

  const compile = (folder, name) =>
    page.evaluate((url) => globalThis.compile(url), `/${folder}/${encodeURIComponent(name)}`);

  const names = await list(modules);
  if (names.length === 0) fail(`no module in ${modules}: nothing is proved`);
  for (const name of names) {
    for (const { line, message } of await compile("modules", name)) {
      fail(`${join(modules, name)}:${line}: ${message}`);
    }
  }
  let proofs = 0;
  for (const name of await list(fixtures)) {
    const good = name.startsWith("good-");
    if (!good && !name.startsWith("barrier-") && !name.startsWith("float-atomic-")) continue;
    proofs += 1;
    const problems = await compile("fixtures", name);
    if (good) problems.forEach(({ line, message }) => fail(`${join(fixtures, name)}:${line}: ${message}`));
    else if (problems.length === 0) fail(`${join(fixtures, name)}: Tint was expected to refuse it`);
  }
  if (proofs === 0) fail(`no fixture in ${fixtures}: the check itself is not proved`);
  console.log(`${names.length} modules compiled, ${proofs} fixtures judged, ${failures} failures`);
} finally {
  await browser.close();
  server.close();
}
process.exitCode = failures === 0 ? 0 : 1;
