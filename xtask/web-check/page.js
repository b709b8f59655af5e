// Runs in the browser: opens the adapter, compiles modules. Called by check.mjs through `page.evaluate`.

let device;

// Opens the adapter with default limits; its description, or null if there is none.
globalThis.openAdapter = async () => {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter) return null;
  device = await adapter.requestDevice();
  const { vendor, architecture, description } = adapter.info;
  return [vendor, architecture, description].filter(Boolean).join(" ");
};

// Compiles the module served at `url` and makes its pipeline; a list of problems, empty when there are none.
globalThis.compile = async (url) => {
  const response = await fetch(url);
  if (!response.ok) return [{ line: 0, message: `cannot be loaded: ${response.status}` }];
  device.pushErrorScope("validation");
  const module = device.createShaderModule({ code: await response.text(), label: url });
  const { messages } = await module.getCompilationInfo();
  const problems = messages
    .filter(({ type }) => type === "error")
    .map(({ lineNum, message }) => ({ line: lineNum, message }));
  if (problems.length === 0) {
    try {
      await device.createComputePipelineAsync({ layout: "auto", compute: { module, entryPoint: "main" } });
    } catch (error) {
      problems.push({ line: 0, message: error.message });
    }
  }
  const error = await device.popErrorScope();
  if (error && problems.length === 0) problems.push({ line: 0, message: error.message });
  return problems;
};
