// Runs the client scenarios of the official MCP conformance suite through `finmcp serve`, and compares the results with
// the expectation.
//
// usage: run.mjs [--finmcp PATH] [--client modern|legacy] [--sign-in auto|command] [--only TEXT] [--jobs NUMBER]
//                [--keep FOLDER]
//   --finmcp   the binary (default: the debug build)
//   --client   one kind of AI client (default: both)
//   --sign-in  auto (default): `serve --sign-in auto` opens the browser;
//              command: run the `finmcp login` command that serve names
//   --only     only scenarios whose line in the table contains TEXT
//   --keep     keep the suite's records in FOLDER
//   FINMCP_TEST_CONFORMANCE   the node_modules folder with the suites in package.json
//
// The expectation is in scenarios.json. A scenario passes if the suite says so (exit code), with at least one scored
// check, and if the client ended as the scenario expects: a refusal counts only if finmcp refused. A scenario that is
// listed as failing but passes is an error too, so that the list stays correct. An entry's reason for failing applies to
// a kind of client, to a way to sign in, or always (`fails`).

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

/** The timeouts of one scenario in milliseconds: the suite's, and this script's. */
const SUITE_LIMIT = 25_000;
const LIMIT = 40_000;

const here = import.meta.dirname;
const { values: options } = parseArgs({
  options: {
    finmcp: { type: "string", default: join(here, "../../target/debug/finmcp") },
    client: { type: "string" },
    "sign-in": { type: "string", default: "auto" },
    only: { type: "string", default: "" },
    jobs: { type: "string", default: String(availableParallelism() + 1) },
    keep: { type: "string" },
  },
});
const modules = process.env.FINMCP_TEST_CONFORMANCE ?? fail("FINMCP_TEST_CONFORMANCE is not set");
const expectation = JSON.parse(readFileSync(join(here, "scenarios.json"), "utf8"));
const records = options.keep ?? mkdtempSync(join(tmpdir(), "finmcp-conformance-records-"));
const temporary = join(records, "tmp");
mkdirSync(temporary, { recursive: true });
// The suite needs Node 22; package.json installs one if this Node is older.
const node = Number(process.versions.node.split(".")[0]) >= 22 ? process.execPath : join(modules, ".bin/node");

function fail(message) {
  console.error(`run.mjs: ${message}`);
  process.exit(2);
}

/** Every scenario of every run with every kind of client. */
function plan() {
  const kinds = options.client ? [options.client] : ["modern", "legacy"];
  const all = expectation.runs.flatMap(({ suite, revision, scenarios }) =>
    Object.entries(scenarios).flatMap(([scenario, entry]) =>
      kinds.map((kind) => {
        const reason = entry[kind] ?? entry[options["sign-in"]] ?? entry.fails;
        if (reason !== undefined && !(reason in expectation.reasons)) fail(`scenarios.json: no reason ${reason}`);
        const { scored = true, ends = "done" } = entry;
        return { suite, revision, scenario, kind, scored, ends, reason, line: `${suite} ${revision} ${kind} ${scenario}` };
      }),
    ),
  );
  return all.filter(({ line }) => line.includes(options.only));
}

/** Runs one scenario. Returns whether it passed, whether the suite alone accepts it, and why not. */
async function judge({ suite, revision, scenario, kind, ends }) {
  const folder = join(records, suite, revision, kind);
  const { module } = expectation.suites[suite];
  const command = [join(modules, module, "dist/index.js"), "client", "--scenario", scenario];
  command.push("--command", `${node} ${join(here, "client.mjs")}`, "--timeout", String(SUITE_LIMIT));
  command.push("--output-dir", folder);
  // Extensions belong to no revision, so the suite runs them only with --force.
  if (suite !== "0.1.16") command.push("--spec-version", revision, "--force");
  const environment = {
    ...process.env,
    TMPDIR: temporary,
    NODE_COMPILE_CACHE: join(modules, ".cache/compile"),
    FINMCP: resolve(options.finmcp),
    FINMCP_CLIENT: kind,
    FINMCP_SIGN_IN: options["sign-in"],
  };
  const { code, stderr } = await execute(node, command, environment);
  const [parent, name] = scenario.includes("/") ? scenario.split("/") : ["", scenario];
  const recorded = folderOf(join(folder, parent), name);
  if (recorded === undefined || !existsSync(join(recorded, "checks.json"))) {
    return { passed: false, content: false, why: `no record: ${stderr.trim().split("\n").at(-1)}` };
  }
  const checks = JSON.parse(readFileSync(join(recorded, "checks.json"), "utf8"));
  const scored = checks.filter(({ status }) => status === "SUCCESS" || status === "FAILURE").length;
  const missed = checks.filter(({ status }) => status === "FAILURE" || status === "WARNING");
  const end = readFileSync(join(recorded, "stdout.txt"), "utf8").trim().split("\n").at(-1);
  const why = [];
  if (code !== 0) why.push(code === undefined ? "took too long" : "the suite failed it");
  if (scored === 0) why.push("nothing was checked");
  why.push(...new Set(missed.map(({ id }) => id)));
  if (end !== ends) why.push(`ended with ${JSON.stringify(end)}, not ${JSON.stringify(ends)}`);
  return { passed: why.length === 0, content: code === 0 && scored > 0, why: why.join(", ") };
}

/** The suite's latest record of a scenario: a folder with its name and the time. */
function folderOf(parent, name) {
  let names;
  try {
    names = readdirSync(parent);
  } catch {
    return undefined;
  }
  const record = names.filter((entry) => entry.startsWith(`${name}-2`)).sort().at(-1);
  return record && join(parent, record);
}

function execute(program, args, env) {
  return new Promise((done, reject) => {
    const child = spawn(program, args, { env, stdio: ["ignore", "ignore", "pipe"], detached: true });
    let stderr = "";
    child.stderr.on("data", (data) => (stderr += data));
    // A separate process group, so that no process is left behind.
    const timer = setTimeout(() => process.kill(-child.pid, "SIGKILL"), LIMIT);
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      done({ code: code ?? undefined, stderr });
    });
  });
}

/** The suites' scenarios that scenarios.json neither expects nor leaves out. */
async function forgotten() {
  const missing = [];
  for (const [suite, { module, leftOut }] of Object.entries(expectation.suites)) {
    const known = new Set([
      ...Object.keys(leftOut),
      ...expectation.runs.filter((run) => run.suite === suite).flatMap(({ scenarios }) => Object.keys(scenarios)),
    ]);
    const all = await scenariosOf(module);
    missing.push(...all.filter((scenario) => !known.has(scenario)).map((scenario) => `${suite} ${scenario}`));
  }
  return missing;
}

/** The client scenarios that a suite lists. */
function scenariosOf(module) {
  return new Promise((done, reject) => {
    const command = [join(modules, module, "dist/index.js"), "list", "--client"];
    const child = spawn(node, command, { stdio: ["ignore", "pipe", "inherit"] });
    let text = "";
    child.stdout.on("data", (data) => (text += data));
    child.on("error", reject);
    child.on("close", () => done([...text.matchAll(/^ {2}- (\S+)/gm)].map(([, scenario]) => scenario)));
  });
}

const tasks = plan();
if (tasks.length === 0) fail("no such scenario");
const results = new Map();
const queue = [...tasks];
await Promise.all(
  Array.from({ length: Number(options.jobs) }, async () => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) results.set(task, await judge(task));
  }),
);

let wrong = 0;
const counts = new Map();
for (const task of tasks) {
  const { passed, content, why } = results.get(task);
  const { line, reason, scored } = task;
  if (passed !== (reason === undefined)) wrong += 1;
  console.log(`${line.padEnd(86)} ${verdict(passed, why, reason)}`);
  const run = `${task.suite} ${task.revision} ${task.kind}`;
  const count = counts.get(run) ?? { scored: [], content: [], other: [] };
  count[scored ? "scored" : "other"].push(passed);
  if (scored) count.content.push(content);
  counts.set(run, count);
}

function verdict(passed, why, reason) {
  if (passed) return reason === undefined ? "pass" : `PASSES NOW: remove ${reason} from scenarios.json`;
  return reason === undefined ? `FAIL: ${why}` : `fails (${reason}): ${why}`;
}

console.log();
const tally = (verdicts) => `${verdicts.filter(Boolean).length} of ${verdicts.length}`;
for (const [run, { scored, content, other }] of counts) {
  console.log(`${run.padEnd(34)} ${tally(scored)} scored (the suite alone: ${tally(content)}), ${tally(other)} others`);
}
console.log();
for (const reason of new Set(tasks.map((task) => task.reason).filter(Boolean))) {
  console.log(`${reason}: ${expectation.reasons[reason]}`);
}
for (const scenario of options.only ? [] : await forgotten()) {
  console.log(`not in scenarios.json: ${scenario}`);
  wrong += 1;
}
const passed = [...results.values()].filter((result) => result.passed).length;
const surprise = wrong === 0 ? "all as expected" : `${wrong} NOT AS EXPECTED`;
console.log(`\n${passed} passed, ${tasks.length - passed} failed, ${surprise}`);
rmSync(temporary, { recursive: true, force: true });
if (options.keep === undefined) rmSync(records, { recursive: true, force: true });
process.exitCode = wrong === 0 ? 0 : 1;
