// CPython in WebAssembly: penstock.protocol out of its wheel, in Node, without a network.
//
//     (cd examples/pyodide && npm install)
//     node examples/pyodide/run.mjs dist/penstock-*.whl
//
// First a stream as `fetch` gives it, in pieces that end within characters, goes through a decoder; then the conformance
// vectors, which come with the wheel, are run. Whatever needs no socket works in a browser's Python as anywhere else.

import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { loadPyodide } from "pyodide";

const [wheel] = process.argv.slice(2);
if (!wheel) {
  console.error("usage: node run.mjs path/to/penstock.whl");
  process.exit(2);
}

// The interpreter and its library are files of the npm package; a pure wheel only needs to be unpacked.
const python = await loadPyodide({ indexURL: dirname(fileURLToPath(import.meta.resolve("pyodide"))) });
python.unpackArchive(new Uint8Array(await readFile(wheel)), "wheel");
console.log(python.runPython("import sys; f'CPython {sys.version.split()[0]} on {sys.platform}'"));

const event = (delta, finish_reason) => `data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`;
const said = ["Привіт", ", ", "বাংলা", " 👋"].map((content) => event({ content }));
const bytes = new TextEncoder().encode([...said, event({}, "stop"), "data: [DONE]\n\n"].join(""));
const decoder = python.pyimport("penstock.protocol.dialects.openai").StreamDecoder();
for (let at = 0; at < bytes.length; at += 7) {
  for (const happened of decoder.feed(python.toPy(bytes.subarray(at, at + 7)))) {
    console.log(String(happened));
  }
}

const report = python.pyimport("penstock.protocol.vectors").run();
console.log(String(report));
process.exitCode = report.failures.length ? 1 : 0;
