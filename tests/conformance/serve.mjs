// `finmcp serve` from an AI client's point of view: JSON-RPC messages on stdin and stdout.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** The timeout of a response, in milliseconds. */
const PATIENCE = 10_000;

/** A JSON-RPC error from the server or from finmcp. */
export class ErrorAnswer extends Error {
  constructor(method, { code, message, data }) {
    super(`${method}: ${message} (${code})`);
    this.code = code;
    this.data = data;
  }
}

/** One running `finmcp serve`. */
export class Serve {
  #child;
  #pending = new Map();
  #nextId = 1;
  #ended;
  #answer;

  /** `answer(method, params)` returns the result for a request from the server. */
  constructor(command, args, environment, answer) {
    this.#answer = answer;
    this.#child = spawn(command, args, { env: environment, stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdin.on("error", () => {});
    this.#ended = new Promise((resolve, reject) => {
      this.#child.on("error", reject);
      this.#child.on("close", (code) => resolve(code));
    });
    this.#ended.catch(() => {}).then(() => {
      for (const { reject } of this.#pending.values()) reject(new Error("finmcp serve has ended"));
    });
    createInterface({ input: this.#child.stdout }).on("line", (line) => this.#take(JSON.parse(line)));
  }

  /** Sends a request and waits for its result; an error is thrown as `ErrorAnswer`. */
  async request(method, params) {
    const id = this.#nextId++;
    const answered = new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
    const timer = setTimeout(() => this.#pending.get(id)?.reject(new Error(`${method}: no answer`)), PATIENCE);
    this.#send({ id, method, params });
    try {
      const { result, error } = await answered;
      if (error) throw new ErrorAnswer(method, error);
      return result;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  notify(method, params) {
    this.#send({ method, params });
  }

  /** Closes stdin, as a client does before it exits; finmcp must exit too. */
  async close() {
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), PATIENCE);
    const code = await this.#ended;
    clearTimeout(timer);
    if (code !== 0) throw new Error(`finmcp serve ended with ${code}`);
  }

  #send(message) {
    this.#child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }

  async #take(message) {
    if (message.method === undefined) {
      this.#pending.get(message.id)?.resolve(message);
    } else if (message.id !== undefined) {
      const { id, method, params } = message;
      const reply = await this.#answer(method, params);
      this.#send(reply === undefined ? { id, error: { code: -32601, message: "not supported" } } : { id, result: reply });
    }
  }
}
