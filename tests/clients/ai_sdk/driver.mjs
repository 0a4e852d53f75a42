// Drives Vercel's AI SDK as a program would, and prints the parts of one streamed answer as JSON lines.
//
//   node driver.mjs '{"baseURL": "http://127.0.0.1:1234/v1", "api": "chat", "tools": ["f"], "settings": {...}}'
//
// `api` "responses" is `createOpenAI()`, which speaks the Responses API; "chat" is `createOpenAICompatible()`, which
// speaks chat completions; "messages" is `createAnthropic()`. `settings` go to `streamText`. With `leaveAfter`, the
// answer is aborted after so many parts; with `steps`, the tools are carried out ("done"), in up to so many steps.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { jsonSchema, stepCountIs, streamText, tool } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false; // they would stand among the lines
const job = JSON.parse(process.argv[2]);
const place = { baseURL: job.baseURL, apiKey: "sk-client" };
const apis = {
  responses: () => createOpenAI(place)("local/tiny"),
  chat: () => createOpenAICompatible({ ...place, name: "penstock", includeUsage: true })("local/tiny"),
  messages: () => createAnthropic(place)("local/tiny"),
};
const inputSchema = jsonSchema({ type: "object", properties: {} });
const execute = job.steps && (async () => "done");
const tools = Object.fromEntries((job.tools ?? []).map((name) => [name, tool({ inputSchema, execute })]));
const defaults = { prompt: "Привет", maxRetries: 0, onError: () => {}, stopWhen: stepCountIs(job.steps ?? 1) };
const asked = { ...defaults, tools, ...job.settings };

const leaving = new AbortController();
const answer = streamText({ model: apis[job.api ?? "responses"](), abortSignal: leaving.signal, ...asked });
let count = 0;
for await (const part of answer.fullStream) {
  const { constructor, message, statusCode } = part.error ?? {};
  const error = part.error && { name: constructor.name, message: message ?? part.error, statusCode };
  process.stdout.write(JSON.stringify({ ...part, ...(error && { error }) }) + "\n");
  if (++count === job.leaveAfter) leaving.abort();
}
