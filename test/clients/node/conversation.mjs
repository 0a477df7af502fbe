// What the client programs share: conversations come in as lines of JSON (sdks.Request), what came of each goes out as a line of
// JSON (sdks.Reply). What an SDK prints goes to the standard error, where the tests take it for a complaint.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { inspect } from 'node:util';
import { Console } from 'node:console';

globalThis.console = new Console(process.stderr, process.stderr);

// Loads a package of the set that the program is run with.
export const load = createRequire(`${process.argv[2]}/`);

// converse(request) yields the answers of a conversation, one for each request that was sent.
export async function serve(converse) {
  for await (const line of createInterface({ input: process.stdin })) {
    const reply = { answers: [], error: null };
    try {
      for await (const answer of converse(JSON.parse(line))) reply.answers.push(answer);
    } catch (e) {
      reply.error = described(e);
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}

// An exception as sdks.Error; the body is the error that the answer carried, with or without the envelope around it.
function described(e) {
  let body = e.error ?? e.data ?? {};
  body = body.error ?? body;
  return {
    class: e.constructor?.name ?? typeof e,
    status: e.status ?? e.statusCode ?? 0,
    type: body.type ?? '',
    code: String(body.code ?? ''),
    message: body.message ?? e.message ?? String(e),
    trace: inspect(e, { depth: 4 }),
  };
}

export function answer(text, object, events) {
  return { text: text ?? '', object, events };
}

// The result of the client's own function.
export function result(request, name) {
  return request.tools.find((t) => t.name === name).result;
}
