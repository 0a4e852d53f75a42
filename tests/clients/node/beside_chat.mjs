// Calls of the `openai` package beside the chat, for `driver.mjs`.

import { toFile } from "openai";

const SOUND = new Uint8Array(25600).map((_, at) => at % 256);

export const besideChat = (client, job, print) => ({
  async embeddings() {
    const { data } = await client.embeddings.create({ model: "local/tiny", input: job.input, ...job.arguments });
    print({ result: data.map(({ embedding }) => embedding) });
  },
  async transcription() {
    const file = await toFile(SOUND, "запись.wav");
    const asked = { file, model: "local/tiny", ...job.arguments };
    const told = await client.audio.transcriptions.create(asked);
    if (asked.stream) for await (const event of told) print({ event });
    print({ result: asked.stream ? null : told });
  },
  async speech() {
    const response = await client.audio.speech.create({ model: "local/tiny", voice: "alloy", input: "Привет" });
    const sizes = [];
    for await (const piece of response.body) {
      sizes.push(piece.length);
      print({ piece: piece.length });
    }
    print({ result: sizes.reduce((one, other) => one + other), type: response.headers.get("content-type") });
  },
  async moderation() {
    print({ result: await client.moderations.create({ input: "a", ...job.arguments }) });
  },
});
