// Drives the `ollama` package as a program would, and prints what it gave as JSON lines.
//
//   node driver.mjs '{"host": "http://127.0.0.1:1234", "call": "chat", "arguments": {"stream": true}}'
//
// Lines: {"part": …} for each part of a stream as it comes, {"result": …} for what a call returns, and {"error": {…}}
// for what it throws. `leaveAfter` leaves a stream after so many parts, by its `abort`.

import { Ollama } from "ollama";

const job = JSON.parse(process.argv[2]);
const client = new Ollama({ host: job.host });
const print = (line) => process.stdout.write(JSON.stringify(line) + "\n");

try {
  const answer = await client[job.call](job.arguments ?? {});
  if (job.arguments?.stream) {
    let count = 0;
    for await (const part of answer) {
      print({ part });
      if (++count === job.leaveAfter) answer.abort();
    }
  }
  print({ result: job.arguments?.stream ? null : answer });
} catch (error) {
  print({ error: { name: error.name, message: error.message, status: error.status_code } });
}
