// The two kinds of AI clients that start `finmcp serve`.
//
// legacy  uses the revisions up to 2025-11-25: starts with `initialize`
// modern  uses 2026-07-28, with the version in every request; with a server that does not support it, falls back to
//         `initialize`, as MCP 2026-07-28 ("Versioning") requires of a client for both eras

import { ErrorAnswer } from "./serve.mjs";

const MODERN = "2026-07-28";
const LEGACY = "2025-11-25";
const CLIENT_INFO = { name: "finmcp-conformance", version: "1" };
const CAPABILITIES = { elicitation: {} };

/** The error code for an unsupported version (MCP 2026-07-28, "Error Codes"). */
const UNSUPPORTED_VERSION = -32022;

/** An AI client. */
export class LocalClient {
  #serve;
  #authorized;
  #modern = false;
  /** The user's response to an elicitation. */
  elicit = async (params) => ({ action: "accept", content: defaults(params.requestedSchema) });

  /** `open` starts `serve` with a handler for the server's requests; `authorized(send)` sends and signs in if required. */
  constructor(open, authorized) {
    this.#serve = open((method, params) => (method === "elicitation/create" ? this.elicit(params) : undefined));
    this.#authorized = authorized;
  }

  /** Connects as a client of this `kind`. */
  async open(kind) {
    this.#modern = kind === "modern";
    if (this.#modern && (await this.#discover())) return;
    this.#modern = false;
    const { protocolVersion } = await this.request("initialize", {
      protocolVersion: LEGACY,
      capabilities: CAPABILITIES,
      clientInfo: CLIENT_INFO,
    });
    if (typeof protocolVersion !== "string") throw new Error("initialize: no protocol version");
    this.#serve.notify("notifications/initialized");
  }

  /** Whether the server supports 2026-07-28. */
  async #discover() {
    try {
      const { supportedVersions } = await this.request("server/discover");
      return Array.isArray(supportedVersions) && supportedVersions.includes(MODERN);
    } catch (error) {
      if (error instanceof ErrorAnswer && ![-31004, -31005].includes(error.code)) return false;
      throw error;
    }
  }

  async request(method, params) {
    const send = () => this.#serve.request(method, this.#modern ? withVersion(params) : params);
    try {
      return await this.#authorized(send);
    } catch (error) {
      if (error.code !== UNSUPPORTED_VERSION || !error.data?.supported?.includes(MODERN)) throw error;
      return await this.#authorized(send);
    }
  }

  /** All pages of a list. */
  async list(method, member) {
    const entries = [];
    let cursor;
    do {
      const page = await this.request(method, cursor && { cursor });
      entries.push(...page[member]);
      cursor = page.nextCursor;
    } while (cursor);
    return entries;
  }

  /** Calls a tool and provides the input that the server requests (MCP 2026-07-28, "Multi Round-Trip Requests"). */
  async call(name, args) {
    let answers = {};
    for (;;) {
      const result = await this.request("tools/call", { name, arguments: args, ...answers });
      if (result.resultType !== "input_required") return result;
      const inputResponses = {};
      for (const [key, { params }] of Object.entries(result.inputRequests ?? {})) {
        inputResponses[key] = await this.elicit(params);
      }
      answers = { inputResponses, ...(result.requestState !== undefined && { requestState: result.requestState }) };
    }
  }

  async close() {
    await this.#serve.close();
  }
}

function withVersion(params) {
  return {
    ...params,
    _meta: {
      "io.modelcontextprotocol/protocolVersion": MODERN,
      "io.modelcontextprotocol/clientInfo": CLIENT_INFO,
      "io.modelcontextprotocol/clientCapabilities": CAPABILITIES,
    },
  };
}

function defaults(schema) {
  const fields = Object.entries(schema?.properties ?? {});
  return Object.fromEntries(fields.map(([name, field]) => [name, field.default ?? field.type === "boolean"]));
}
