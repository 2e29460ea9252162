// Checks manifests against the custom resource definitions of Istio, in the form of the package
// @kubernetes-models/istio, which has them as TypeScript and as validators. Its types tell unknown
// fields, as `kubectl` does; its validators tell limits and patterns, as the API server does.
//
//   node check.mjs < manifests.json    {"name": object, …} to {"name": [mistake, …], …}
//
// It has to stand beside the node_modules that have the package.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const PACKAGE = "@kubernetes-models/istio";

const manifests = JSON.parse(readFileSync(0, "utf8"));
const mistakes = {};
for (const [name, object] of Object.entries(manifests)) {
  mistakes[name] = [...(await invalid(object)), ...mistyped(object)];
}
process.stdout.write(JSON.stringify(mistakes));

/// What the validators say.
async function invalid({ apiVersion, kind, ...rest }) {
  const models = await import(`${PACKAGE}/${apiVersion}`).catch(() => ({}));
  if (!models[kind]) {
    return [`no ${kind} of ${apiVersion}`];
  }
  try {
    new models[kind](rest).validate();
    return [];
  } catch (error) {
    return [error.message];
  }
}

/// What the types say.
function mistyped(object) {
  const file = join(import.meta.dirname, "manifest.mts");
  const { apiVersion, kind, ...rest } = object;
  const text = `import type { I${kind} } from "${PACKAGE}/${apiVersion}";
export const manifest: I${kind} = ${JSON.stringify(rest, null, 1)};\n`;
  const options = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    types: [],
  };
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => path === file || fileExists(path);
  host.readFile = (path) => (path === file ? text : readFile(path));
  host.getSourceFile = (path, version, ...others) =>
    path === file
      ? ts.createSourceFile(path, text, version)
      : getSourceFile(path, version, ...others);
  const program = ts.createProgram([file], options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " "));
}
