// The Node.js side of AWS's Runtime API: loads the handler, asks for events, answers them.
//
// Plain Node, nothing installed. What functions can rely on is AWS's own documentation:
// https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html (async and callback handlers, ES modules, NODE_PATH),
// https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html (awslambda.streamifyResponse),
// https://docs.aws.amazon.com/lambda/latest/dg/nodejs-logging.html (the form of log lines).

import http from "node:http";
import fs from "node:fs";
import path from "node:path";
import util from "node:util";
import { createRequire } from "node:module";
import * as modules from "node:module";
import { pathToFileURL, fileURLToPath } from "node:url";
import { Writable } from "node:stream";

const [HOST, PORT] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const TASK_ROOT = process.env.LAMBDA_TASK_ROOT;
const PREFIX = "/2018-06-01/runtime/";
const STREAMING = Symbol.for("aws.lambda.runtime.handler.streaming");
const INTEGRATION_TYPE = "application/vnd.awslambda.http-integration-response";
const PRELUDE_END = Buffer.alloc(8);
const LEVELS = { TRACE: 5, DEBUG: 10, INFO: 20, WARN: 30, ERROR: 40, FATAL: 50 };

const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
let current = null; // the invocation under way

// -- Runtime API ------------------------------------------------------------------------------------------------------

function call(method, where, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(
      { host: HOST, port: PORT, agent, method, path: PREFIX + where,
        headers: body === undefined ? headers : { "Content-Length": Buffer.byteLength(body), ...headers } },
      (response) => {
        const pieces = [];
        response.on("data", (piece) => pieces.push(piece));
        response.on("end", () => resolve({ status: response.statusCode, headers: response.headers,
          body: Buffer.concat(pieces).toString("utf8") }));
        response.on("error", reject);
      });
    request.on("error", reject);
    request.end(body);
  });
}

function describe(error) {
  if (error instanceof Error || (error && typeof error === "object" && "stack" in error && "message" in error)) {
    return { errorType: String(error.name ?? "Error"), errorMessage: String(error.message ?? ""),
      trace: String(error.stack ?? "").split("\n") };
  }
  return { errorType: typeof error, errorMessage: error === undefined ? "undefined" : String(error), trace: [] };
}

function errorRequest(where, error) {
  const document = describe(error);
  return call("POST", where, JSON.stringify(document), {
    "Content-Type": "application/json", "Lambda-Runtime-Function-Error-Type": document.errorType.replace(/[^\x20-\x7e]/g, "?"),
  });
}

// -- logging ----------------------------------------------------------------------------------------------------------

const JSON_LOGS = process.env.AWS_LAMBDA_LOG_FORMAT === "JSON";
const LEAST = JSON_LOGS ? LEVELS[(process.env.AWS_LAMBDA_LOG_LEVEL ?? "").toUpperCase()] ?? 0 : 0;
const LOG_FD = Number(process.env._LAMBDA_TELEMETRY_LOG_FD ?? 0);
delete process.env._LAMBDA_TELEMETRY_LOG_FD;

function put(text) {
  const body = Buffer.from(text + "\n");
  let out = body;
  if (LOG_FD) {
    // AWS's frame: type, length, microseconds since the epoch. It keeps a record of many lines one log event.
    const head = Buffer.alloc(16);
    head.writeUInt32BE(0xa55a0003, 0);
    head.writeUInt32BE(body.length, 4);
    head.writeBigUInt64BE(BigInt(Date.now()) * 1000n, 8);
    out = Buffer.concat([head, body]);
  }
  for (let at = 0; at < out.length;) at += fs.writeSync(LOG_FD || 1, out, at);
}

function write(level, values) {
  if (LEVELS[level] < LEAST) return;
  const at = new Date().toISOString();
  const id = current ? current.id : undefined;
  if (!JSON_LOGS) {
    put(`${at}\t${id}\t${level}\t${util.format(...values)}`);
    return;
  }
  const record = { timestamp: at, level, requestId: id };
  const error = values.find((value) => value instanceof Error);
  record.message = values.length === 1 && !(values[0] instanceof Error) ? values[0] : util.format(...values);
  if (error) Object.assign(record, { errorType: error.name, errorMessage: error.message, stackTrace: String(error.stack).split("\n") });
  try {
    put(JSON.stringify(record));
  } catch {
    put(JSON.stringify({ ...record, message: util.format(...values) }));
  }
}

function stackOf(error) {
  const { errorType, errorMessage, trace } = describe(error);
  return JSON.stringify({ errorType, errorMessage, ...(error && error.code ? { code: error.code } : {}), stack: trace });
}

for (const [name, level] of [["log", "INFO"], ["info", "INFO"], ["debug", "DEBUG"], ["trace", "TRACE"], ["warn", "WARN"],
  ["error", "ERROR"]]) {
  console[name] = (...values) => write(level, values);
}
console.fatal = (...values) => write("FATAL", values);

// -- response streaming -----------------------------------------------------------------------------------------------

class ResponseStream extends Writable {
  constructor(id) {
    super({ highWaterMark: 16384 });
    this._id = id;
    this._type = "application/octet-stream";
    this._request = null;
  }

  setContentType(type) {
    if (this._request) throw new Error("The content type is sent with the first byte; it is too late to set it.");
    this._type = type;
  }

  _open() {
    if (this._request) return this._request;
    this._answered = new Promise((resolve, reject) => {
      this._request = http.request({
        host: HOST, port: PORT, agent, method: "POST", path: `${PREFIX}invocation/${this._id}/response`,
        headers: { "Content-Type": this._type, "Lambda-Runtime-Function-Response-Mode": "streaming",
          "Transfer-Encoding": "chunked", Trailer: "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body" },
      }, (response) => { response.resume(); response.on("end", resolve); });
      this._request.on("error", reject);
      this._request.flushHeaders();
    });
    this._answered.catch(() => {});
    return this._request;
  }

  _write(chunk, encoding, done) {
    if (!this._open().write(chunk, encoding)) this._request.once("drain", done);
    else done();
  }

  _final(done) {
    this._open().end();
    this._answered.then(() => done(), done);
  }

  async fail(error) {
    const document = describe(error);
    if (!this._request) {
      await errorRequest(`invocation/${this._id}/error`, error);
      return;
    }
    this._request.addTrailers({ "Lambda-Runtime-Function-Error-Type": document.errorType,
      "Lambda-Runtime-Function-Error-Body": Buffer.from(JSON.stringify(document)).toString("base64") });
    this._request.end();
    await this._answered;
  }
}

globalThis.awslambda = {
  streamifyResponse(handler, options) {
    handler[STREAMING] = "response";
    if (options?.highWaterMark !== undefined) handler[Symbol.for("aws.lambda.runtime.handler.streaming.highWaterMark")] = Number(options.highWaterMark);
    return handler;
  },
  HttpResponseStream: {
    from(stream, prelude) {
      stream.setContentType(INTEGRATION_TYPE);
      stream.write(Buffer.concat([Buffer.from(JSON.stringify(prelude)), PRELUDE_END]));
      return stream;
    },
  },
};

// -- the handler ------------------------------------------------------------------------------------------------------

function named(name, message, from) {
  const error = new Error(message);
  error.name = name;
  error.stack = from ? `${name}: ${message}\n${String(from.stack).split("\n").slice(1).join("\n")}` : `${name}: ${message}\n    at load`;
  return error;
}

// ES modules do not look at NODE_PATH by themselves; on AWS the SDK and layers are found by both kinds.
function letModulesSeeNodePath() {
  if (typeof modules.register !== "function" || !process.env.NODE_PATH) return;
  const source = `
    import { createRequire } from "node:module"; import { pathToFileURL } from "node:url";
    const require = createRequire(${JSON.stringify(pathToFileURL(path.join(TASK_ROOT, "x.js")).href)});
    export async function resolve(name, context, next) {
      try { return await next(name, context); } catch (error) {
        if (error.code !== "ERR_MODULE_NOT_FOUND" || /^[./]|^file:/.test(name)) throw error;
        try { return await next(pathToFileURL(require.resolve(name)).href, context); } catch { throw error; }
      }
    }`;
  modules.register("data:text/javascript," + encodeURIComponent(source));
}

async function load(reference) {
  const base = path.basename(reference);
  const match = /^([^.]*)\.(.+)$/.exec(base);
  if (!match) throw named("Runtime.MalformedHandlerName", "Bad handler");
  if (reference.includes("..")) throw named("Runtime.MalformedHandlerName", `'${reference}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  const [, file, names] = match;
  const stem = path.resolve(TASK_ROOT, reference.slice(0, reference.length - base.length), file);
  let found;
  try {
    found = await loadModule(stem, path.join(reference.slice(0, reference.length - base.length), file));
  } catch (error) {
    if (error instanceof SyntaxError) throw named("Runtime.UserCodeSyntaxError", `SyntaxError: ${error.message}`, error);
    if (error?.code === "MODULE_NOT_FOUND" || error?.code === "ERR_MODULE_NOT_FOUND") {
      throw named("Runtime.ImportModuleError", `Error: ${error.message}`, error);
    }
    throw error;
  }
  let handler = found;
  for (const name of names.split(".")) handler = handler?.[name] ?? (handler === found ? found.default?.[name] : undefined);
  if (handler === undefined || handler === null) throw named("Runtime.HandlerNotFound", `${reference} is undefined or not exported`);
  if (typeof handler !== "function") throw named("Runtime.HandlerNotFound", `${reference} is not a function`);
  return handler;
}

async function loadModule(stem, asked) {
  const require = createRequire(path.join(TASK_ROOT, "x.js"));
  for (const [suffix, kind] of [["", "cjs"], [".js", "js"], [".mjs", "esm"], [".cjs", "cjs"]]) {
    const file = stem + suffix;
    if (!fs.existsSync(file) || !fs.statSync(file).isFile()) continue;
    if (kind === "esm" || (kind === "js" && isModulePackage(file))) return import(pathToFileURL(file).href);
    return require(file);
  }
  try {
    return require(require.resolve(asked, { paths: [TASK_ROOT, stem] }));
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    const missing = new Error(`Cannot find module '${asked}'\nRequire stack:\n- ${fileURLToPath(import.meta.url)}`);
    missing.code = "MODULE_NOT_FOUND";
    throw missing;
  }
}

function isModulePackage(file) {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const manifest = path.join(folder, "package.json");
    if (fs.existsSync(manifest)) {
      try { return JSON.parse(fs.readFileSync(manifest, "utf8")).type === "module"; } catch { return false; }
    }
    if (folder === path.dirname(folder)) return false;
  }
}

// -- invocations ------------------------------------------------------------------------------------------------------

function parsed(text) {
  return text ? JSON.parse(text) : undefined;
}

class Invocation {
  constructor(answer) {
    const headers = answer.headers;
    this.id = headers["lambda-runtime-aws-request-id"];
    this.deadline = Number(headers["lambda-runtime-deadline-ms"]);
    this.body = answer.body;
    this.over = new Promise((resolve) => { this._resolve = resolve; });
    this.settled = false;
    this.waits = true;
    this.kept = undefined;
    this.stream = null;
    if (headers["lambda-runtime-trace-id"]) process.env._X_AMZN_TRACE_ID = headers["lambda-runtime-trace-id"];
    else delete process.env._X_AMZN_TRACE_ID;
    const invocation = this;
    this.context = {
      get callbackWaitsForEmptyEventLoop() { return invocation.waits; },
      set callbackWaitsForEmptyEventLoop(value) { invocation.waits = value; },
      functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
      functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
      memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
      logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
      logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
      clientContext: parsed(headers["lambda-runtime-client-context"]),
      identity: parsed(headers["lambda-runtime-cognito-identity"]),
      invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
      awsRequestId: this.id,
      getRemainingTimeInMillis: () => this.deadline - Date.now(),
      done: (error, value) => this.callback(error, value),
      succeed: (value) => { this.waits = false; this.callback(null, value); },
      fail: (error) => { this.waits = false; this.callback(error ?? new Error("handled")); },
    };
  }

  callback(error, value) {
    if (this.settled || this.kept) return;
    this.kept = { error, value };
    if (!this.waits || (error !== null && error !== undefined)) setImmediate(() => this.settleKept());
  }

  settleKept() {
    const { error, value } = this.kept ?? {};
    if (error !== null && error !== undefined) this.fail(error);
    else this.succeed(value);
  }

  async succeed(value) {
    if (this.settled) return;
    this.settled = true;
    let text;
    try {
      text = JSON.stringify(value === undefined ? null : value) ?? "null";
    } catch (error) {
      this.settled = false;
      this.fail(named("Runtime.UnableToStringify", "Unable to stringify response body", error));
      return;
    }
    await call("POST", `invocation/${this.id}/response`, text, { "Content-Type": "application/json" });
    this._resolve();
  }

  async fail(error, said = "Invoke Error ") {
    if (this.settled) return;
    this.settled = true;
    if (JSON_LOGS) write("ERROR", [error]);
    else write("ERROR", [said + "\t" + stackOf(error)]);
    if (this.stream) await this.stream.fail(error);
    else await errorRequest(`invocation/${this.id}/error`, error);
    this._resolve();
  }

  async run(handler) {
    let event;
    try {
      event = JSON.parse(this.body);
    } catch (error) {
      await this.fail(error);
      return;
    }
    try {
      if (handler[STREAMING]) {
        this.stream = new ResponseStream(this.id);
        await handler(event, this.stream, this.context);
        if (!this.stream.writableEnded) this.stream.end();
        await new Promise((resolve, reject) => {
          if (this.stream.writableFinished) resolve();
          this.stream.once("finish", resolve).once("error", reject);
        });
        this.settled = true;
        this._resolve();
        return;
      }
      const given = handler(event, this.context, (error, value) => this.callback(error, value));
      if (given && typeof given.then === "function") this.succeed(await given);
      else if (this.kept === undefined && given !== undefined && handler.length < 3) this.succeed(given);
    } catch (error) {
      await this.fail(error);
    }
  }
}

// The loop is empty: what a callback gave is the answer now; nothing at all is null, as on AWS.
process.on("beforeExit", () => {
  if (current && !current.settled) current.settleKept();
});

async function die(error, said, status) {
  try {
    if (current) await current.fail(error, said);
    else {
      write("ERROR", [said + "\t" + stackOf(error)]);
      await errorRequest("init/error", error);
    }
  } finally {
    process.exit(status);
  }
}

process.on("uncaughtException", (error) => die(error, "Uncaught Exception ", 129));
process.on("unhandledRejection", (reason) => {
  const error = named("Runtime.UnhandledPromiseRejection", reason instanceof Error ? `${reason.name}: ${reason.message}` : String(reason), reason instanceof Error ? reason : undefined);
  die(error, "Unhandled Promise Rejection ", 128);
});

async function main() {
  let handler;
  try {
    letModulesSeeNodePath();
    handler = await load(process.env._HANDLER);
  } catch (error) {
    await die(error, "Uncaught Exception ", 129);
    return;
  }
  for (;;) {
    const answer = await call("GET", "invocation/next");
    if (answer.status !== 200) process.exit(1);
    current = new Invocation(answer);
    current.run(handler);
    await current.over;
    current = null;
  }
}

main();
