// Drives Vercel's AI SDK as a program would, and prints the parts of one streamed answer as JSON lines.
//
//   node driver.mjs '{"baseURL": "http://127.0.0.1:1234/v1", "tools": ["f"]}'
//
// `createOpenAI()(model)` speaks the Responses API.

import { createOpenAI } from "@ai-sdk/openai";
import { jsonSchema, streamText, tool } from "ai";

const job = JSON.parse(process.argv[2]);
const openai = createOpenAI({ baseURL: job.baseURL, apiKey: "sk-client" });
const inputSchema = jsonSchema({ type: "object", properties: {} });
const tools = Object.fromEntries((job.tools ?? []).map((name) => [name, tool({ inputSchema })]));

const answer = streamText({ model: openai("tiny"), prompt: "Привет", tools, maxRetries: 0, onError: () => {} });
for await (const part of answer.fullStream) {
  const error = part.error && { name: part.error.constructor.name, message: part.error.message };
  process.stdout.write(JSON.stringify({ ...part, ...(error && { error }) }) + "\n");
}
