#!/usr/bin/env node
// The client command for the official MCP conformance suite: connects to a scenario's server through `finmcp serve`,
// with a temporary home, and does what the scenario requires of a client. Everything that the suite checks beyond stdio
// is done by finmcp.
//
// usage: client.mjs URL, with
//   FINMCP                   the binary
//   FINMCP_CLIENT            modern or legacy (see local-client.mjs)
//   FINMCP_SIGN_IN           command: run the `finmcp login` command that an error names;
//                            auto: let `finmcp serve --sign-in auto` sign in
//   MCP_CONFORMANCE_SCENARIO, MCP_CONFORMANCE_CONTEXT   from the suite
//
// The last line on stdout is the outcome: done, refused (finmcp did not trust the server), login required, or failed.

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { LocalClient } from "./local-client.mjs";
import { ErrorAnswer, Serve } from "./serve.mjs";

const { FINMCP, FINMCP_CLIENT, FINMCP_SIGN_IN, MCP_CONFORMANCE_SCENARIO, MCP_CONFORMANCE_CONTEXT } = process.env;
const url = process.argv.at(-1);
const context = JSON.parse(MCP_CONFORMANCE_CONTEXT ?? "{}");

/** finmcp's exit codes. `serve` reports the same cause as a JSON-RPC error with the code -31000 - N. */
const LOGIN_REQUIRED = 4;
const REFUSED = 5;

const home = mkdtempSync(join(tmpdir(), "finmcp-conformance-"));
const environment = {
  PATH: process.env.PATH,
  HOME: home,
  NO_COLOR: "1",
  FINMCP_CONFIG_DIR: join(home, "finmcp"),
  FINMCP_STORE: "file",
  FINMCP_STORE_KEY_FILE: secretFile("key", randomBytes(32).toString("hex")),
  FINMCP_BROWSER: join(import.meta.dirname, "browser.mjs"),
  FINMCP_LOG: process.env.FINMCP_LOG ?? "",
};

function secretFile(name, text) {
  const path = join(home, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

/** The client metadata document that the suite expects. */
mkdirSync(environment.FINMCP_CONFIG_DIR, { mode: 0o700 });
writeFileSync(
  join(environment.FINMCP_CONFIG_DIR, "config.toml"),
  'client_metadata_url = "https://conformance-test.local/client-metadata.json"\n',
  { mode: 0o600 },
);

/** `finmcp login` failed. */
class LoginFailed extends Error {
  constructor(code) {
    super(`finmcp login ended with ${code}`);
    this.code = code;
  }
}

async function login(...args) {
  const child = spawn(FINMCP, ["login", ...args], { env: environment, stdio: ["ignore", process.stderr, "inherit"] });
  const code = await new Promise((resolve, reject) => child.on("error", reject).on("close", resolve));
  if (code !== 0) throw new LoginFailed(code);
}

/** Sends a request. If finmcp requires a sign-in, runs the command that it names and sends the request again: twice at
 * most, because a server may require another sign-in for a later request. */
async function authorized(send) {
  for (let patience = 2; ; patience -= 1) {
    try {
      return await send();
    } catch (error) {
      if (FINMCP_SIGN_IN === "auto" || error.code !== -31000 - LOGIN_REQUIRED || patience === 0) throw error;
      const [, command] = error.message.match(/`finmcp login ([^`]+)`/) ?? fail("the error names no sign-in command");
      await login(...command.split(" "));
    }
  }
}

function fail(message) {
  throw new Error(message);
}

/** Signs in with the credentials that a vendor would give to the user. */
async function setUp() {
  if (context.private_key_pem !== undefined) {
    const key = secretFile("private-key", context.private_key_pem);
    return login(url, "--client-id", context.client_id, "--private-key-file", key, "--grant", "client-credentials");
  }
  if (context.valid_jwt !== undefined) {
    const assertion = secretFile("assertion", context.valid_jwt);
    return login(url, "--client-id", context.client_id, "--assertion-file", assertion);
  }
  if (context.client_secret === undefined) return;
  const machine = MCP_CONFORMANCE_SCENARIO === "auth/client-credentials-basic";
  const secret = secretFile("client-secret", context.client_secret);
  const grant = machine ? ["--grant", "client-credentials"] : [];
  await login(url, "--client-id", context.client_id, "--client-secret-file", secret, ...grant, ...identityProvider());
}

/** The options for the enterprise's identity provider, if the scenario has one. */
function identityProvider() {
  if (context.idp_issuer === undefined) return [];
  const options = ["--identity-provider", context.idp_issuer, "--identity-provider-client-id", context.idp_client_id];
  return [...options, "--id-token-file", secretFile("id-token", context.idp_id_token)];
}

/** What most scenarios require: list the tools and call each. */
async function useTools(client) {
  for (const tool of await client.list("tools/list", "tools")) {
    const result = await client.call(tool.name, sample(tool.inputSchema));
    if (!Array.isArray(result.content)) throw new Error(`${tool.name}: no content`);
  }
}

function sample(schema) {
  const samples = { number: 2.5, integer: 3, string: "text", boolean: true, array: [], object: {}, null: null };
  const fields = Object.entries(schema.properties ?? {});
  return Object.fromEntries(fields.map(([name, { type }]) => [name, samples[type]]));
}

const scenarios = {
  /** The tool cannot be called: its schema refers to another document. */
  "json-schema-ref-no-deref": (client) => client.list("tools/list", "tools"),

  async "json-schema-2020-12-preservation"(client) {
    const [tool] = await client.list("tools/list", "tools");
    await client.call("json_schema_echo", { schema: tool.inputSchema });
  },

  async "http-custom-headers"(client) {
    await client.list("tools/list", "tools");
    for (const { name, arguments: given } of context.toolCalls) await client.call(name, given);
  },

  async "http-standard-headers"(client) {
    await useTools(client);
    for (const { uri } of await client.list("resources/list", "resources")) await client.request("resources/read", { uri });
    for (const { name } of await client.list("prompts/list", "prompts")) await client.request("prompts/get", { name });
  },

  /** Calls another tool while the first waits for input. */
  async "sep-2322-client-request-state"(client) {
    const { elicit } = client;
    client.elicit = async (params) => {
      await client.call("test_mrtr_unrelated", {});
      return elicit(params);
    };
    await useTools(client);
  },
};

async function run() {
  await setUp();
  const options = ["--sign-in", FINMCP_SIGN_IN === "auto" ? "auto" : "off"];
  const open = (answer) => new Serve(FINMCP, ["serve", url, ...options], environment, answer);
  const client = new LocalClient(open, authorized);
  try {
    await client.open(FINMCP_CLIENT);
    await (scenarios[MCP_CONFORMANCE_SCENARIO] ?? useTools)(client);
  } finally {
    await client.close();
  }
}

function outcome(error) {
  const code = error instanceof ErrorAnswer ? -31000 - error.code : error instanceof LoginFailed ? error.code : undefined;
  return { [LOGIN_REQUIRED]: "login required", [REFUSED]: "refused" }[code] ?? "failed";
}

try {
  await run();
  console.log("done");
} catch (error) {
  console.error(error.message);
  console.log(outcome(error));
  process.exitCode = 1;
} finally {
  rmSync(home, { recursive: true, force: true });
}
