// A server of static files for the tests and tools in this folder.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".csv": "text/csv",
  ".txt": "text/plain",
  ".wasm": "application/wasm",
  ".png": "image/png",
  ".svg": "image/svg+xml",
};

/**
 * Serves what begins with a prefix from a folder, on a free port of this machine: `{ "/dist/": folder, … }`. A Uint8Array in
 * the place of a folder is the content of that very address. `otherwise` is the page at any other address; without it there
 * is none.
 */
export async function serve(places, otherwise) {
  const prefixes = Object.keys(places);
  async function content(path) {
    const prefix = prefixes.find((prefix) => path.startsWith(prefix));
    if (prefix === undefined) return undefined;
    const place = places[prefix];
    if (place instanceof Uint8Array) return [path, place];
    const rest = normalize(`/${path.slice(prefix.length)}`);
    const file = join(place, rest.endsWith("/") ? `${rest}index.html` : rest);
    return [file, await readFile(file)];
  }
  const server = createServer(async (request, response) => {
    try {
      const path = decodeURIComponent(new URL(request.url, "http://host").pathname);
      const [name, bytes] = (await content(path)) ?? ["index.html", otherwise];
      response.setHeader("content-type", TYPES[extname(name)] ?? "application/octet-stream");
      response.setHeader("content-length", Buffer.byteLength(bytes));
      response.end(bytes);
    } catch {
      response.statusCode = 404;
      response.end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => new Promise((resolve) => (server.closeAllConnections(), server.close(resolve)));
  return { port: server.address().port, url: `http://127.0.0.1:${server.address().port}`, close };
}
