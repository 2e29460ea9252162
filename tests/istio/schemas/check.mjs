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

const manifests = Object.entries(JSON.parse(readFileSync(0, "utf8")));
const mistyped = compile(manifests.map(([, object]) => object));
const mistakes = {};
for (const [index, [name, object]] of manifests.entries()) {
  mistakes[name] = [...(await invalid(object)), ...mistyped[index]];
}
process.stdout.write(JSON.stringify(mistakes));

// What the validators say.
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

// What the types say of each object: a program with a file for each, which is nowhere on the disk.
function compile(objects) {
  const path = (index) => join(import.meta.dirname, `manifest-${index}.mts`);
  const text = ({ apiVersion, kind, ...rest }) =>
    `import type { I${kind} } from "${PACKAGE}/${apiVersion}";\n` +
    `export const object: I${kind} = ${JSON.stringify({ apiVersion, kind, ...rest })};\n`;
  const files = new Map(objects.map((object, index) => [path(index), text(object)]));
  const options = {
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    types: [],
  };
  const disk = ts.createCompilerHost(options);
  const program = ts.createProgram([...files.keys()], options, {
    ...disk,
    fileExists: (path) => files.has(path) || disk.fileExists(path),
    readFile: (path) => files.get(path) ?? disk.readFile(path),
    getSourceFile: (path, ...others) =>
      files.has(path)
        ? ts.createSourceFile(path, files.get(path), ...others)
        : disk.getSourceFile(path, ...others),
  });
  return objects.map((_, index) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(path(index)))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " ")),
  );
}
