// Drives the `openai` package as a program would, and prints what it gave as JSON lines.
//
//   node driver.mjs '{"baseURL": "http://127.0.0.1:1234/v1", "call": "chunks", "arguments": {...}}'
//
// Lines: {"chunk": …} for each chunk of a stream as it comes, {"event": …} for content events of the helper,
// {"result": …} for what a call returns, and {"error": {…}} for what it throws; with `comments`, {"comment": …}
// for each comment that leads a piece on the wire. `leaveAfter` leaves a stream after so many items, by `break` or
// by the AbortController (`leaveBy`).

import OpenAI from "openai";

import { besideChat } from "./beside_chat.mjs";

const job = JSON.parse(process.argv[2]);
const defaults = { apiKey: "sk-client", timeout: 20_000, fetch: watched };
const client = new OpenAI({ ...defaults, baseURL: job.baseURL, ...job.options });
const chat = { model: "local/tiny", messages: [{ role: "user", content: "Привет" }], ...job.arguments };
const ask = { model: "local/tiny", input: "Привет", ...job.arguments };
const begun = { model: "local/tiny", prompt: "Привет", ...job.arguments };

const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

// `fetch`, reporting the comments that come before the first chunk, which the package itself hides.
async function watched(url, init) {
  const response = await fetch(url, init);
  if (!job.comments) return response;
  const look = new TransformStream({
    transform(bytes, next) {
      if (bytes[0] === ":".charCodeAt(0)) print({ comment: new TextDecoder().decode(bytes) });
      next.enqueue(bytes);
    },
  });
  return new Response(response.body.pipeThrough(look), response);
}

// Prints what a stream gives, each under `name`, and returns whether it was left.
async function each(name, stream) {
  let count = 0;
  for await (const item of stream) {
    print({ [name]: item });
    if (++count !== job.leaveAfter) continue;
    if (job.leaveBy === "break") break;
    stream.controller.abort();
  }
  return stream.controller.signal.aborted;
}

const calls = {
  async whole() {
    const { data, response, request_id } = await client.chat.completions.create(chat).withResponse();
    const headers = Object.fromEntries(response.headers);
    print({ result: { data, headers, requestID: request_id, status: response.status } });
  },
  async chunks() {
    const stream = await client.chat.completions.create({ ...chat, stream: true });
    print({ result: { aborted: await each("chunk", stream) } });
  },
  async helper() {
    const runner = client.chat.completions.stream(chat);
    runner.on("content", (delta) => print({ event: delta }));
    const final = await runner.finalChatCompletion();
    print({ result: final });
  },
  async completion() {
    print({ result: await client.completions.create(begun) });
  },
  async completionChunks() {
    const stream = await client.completions.create({ ...begun, stream: true });
    print({ result: { aborted: await each("chunk", stream) } });
  },
  async response() {
    print({ result: await client.responses.create(ask) });
  },
  async responseEvents() {
    const aborted = await each("event", await client.responses.create({ ...ask, stream: true }));
    if (aborted) print({ result: { aborted } });
  },
  async responseHelper() {
    const runner = client.responses.stream(ask);
    runner.on("response.output_text.delta", ({ snapshot }) => print({ event: snapshot }));
    print({ result: await runner.finalResponse() });
  },
  async storedResponses() {
    const first = await client.responses.create(ask);
    const chained = { ...ask, input: job.ask, previous_response_id: first.id };
    print({ first, retrieved: await client.responses.retrieve(first.id) });
    const streamed = await client.responses.stream(chained).finalResponse();
    print({ streamed, refound: await client.responses.retrieve(streamed.id) });
    const second = await client.responses.create(chained);
    const items = [];
    for await (const item of client.responses.inputItems.list(second.id)) items.push(item);
    print({ second, items, cancelled: await client.responses.cancel(second.id) });
    await client.responses.delete(first.id);
    await client.responses.retrieve(first.id);
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    print({ result: ids });
  },
  async model() {
    print({ result: await client.models.retrieve(job.id) });
  },
  ...besideChat(client, job, print),
};

try {
  await calls[job.call]();
} catch (error) {
  const { constructor, status, code, type, param, message } = error;
  const apiError = error instanceof OpenAI.APIError;
  print({ error: { name: constructor.name, apiError, status, code, type, param, message } });
}
