// Checks dashboards against the types that Grafana publishes, in the package @grafana/schema: what
// it does not know, and what is of another type.
//
//   node check.mjs < dashboards.json    {"name": dashboard, …} to {"name": [mistake, …], …}
//
// It has to stand beside the node_modules that have the package.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";

const PANELS = {
  stat: "StatPanelCfg",
  timeseries: "TimeSeriesPanelCfg",
};

const dashboards = Object.entries(JSON.parse(readFileSync(0, "utf8")));
const mistakes = compile(dashboards.map(([, dashboard]) => program(dashboard)));
process.stdout.write(
  JSON.stringify(Object.fromEntries(dashboards.map(([name], index) => [name, mistakes[index]]))),
);

// A dashboard as TypeScript. What is left out of a panel's options, Grafana fills in.
function program({ panels, ...rest }) {
  for (const variable of rest.templating?.list ?? []) {
    // Grafana writes it into each variable that is a query; its types leave it out.
    delete variable.definition;
  }
  const lines = [
    `import type { Dashboard, FieldConfig, FieldConfigSource, GraphFieldConfig, Panel, RowPanel } from "@grafana/schema";`,
    ...Object.entries(PANELS).map(
      ([type, module]) =>
        `import type { Options as ${type} } from "@grafana/schema/dist/esm/raw/composable/${type}/panelcfg/x/${module}_types.gen";`,
    ),
    `type Defaults = Omit<FieldConfig, "custom"> & { custom?: GraphFieldConfig };`,
    `type Fields = Omit<FieldConfigSource, "defaults"> & { defaults: Defaults };`,
    `type Of<Options> = Omit<Panel, "options" | "fieldConfig"> & { options?: Partial<Options>; fieldConfig?: Fields };`,
    `export const dashboard: Omit<Dashboard, "panels"> = ${JSON.stringify(rest)};`,
    ...panels.map((panel, index) => {
      const type = panel.type === "row" ? "RowPanel" : PANELS[panel.type] ? `Of<${panel.type}>` : "never";
      return `export const panel${index}: ${type} = ${JSON.stringify(panel)};`;
    }),
  ];
  return lines.join("\n");
}

// The types have enums, which take no plain text: unions of their values do.
function withoutEnums(text) {
  return text.replace(
    /export declare enum (\w+) \{([^}]*)\}/g,
    (_, name, members) => `export type ${name} = ${members.match(/(?<==\s*)("[^"]*"|-?\d+)/g).join(" | ")};`,
  );
}

// What the compiler says of each text: a program with a file for each, which is nowhere on the disk.
function compile(texts) {
  const path = (index) => join(import.meta.dirname, `dashboard-${index}.mts`);
  const files = new Map(texts.map((text, index) => [path(index), text]));
  const options = {
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    target: ts.ScriptTarget.ES2022,
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    types: [],
  };
  const disk = ts.createCompilerHost(options);
  const read = (path) => files.get(path) ?? withoutEnums(disk.readFile(path));
  const program = ts.createProgram([...files.keys()], options, {
    ...disk,
    fileExists: (path) => files.has(path) || disk.fileExists(path),
    getSourceFile: (path, ...others) =>
      files.has(path) || path.includes("/@grafana/")
        ? ts.createSourceFile(path, read(path), ...others)
        : disk.getSourceFile(path, ...others),
  });
  return texts.map((_, index) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(path(index)))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, " ")),
  );
}
