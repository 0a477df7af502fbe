// Conversations by openai-node, with the accumulators of its streams.
import { answer, load, result, serve } from './conversation.mjs';

const { OpenAI } = load('openai');

async function* responses(client, request) {
  const tools = request.tools?.map((t) => ({ type: 'function', name: t.name, description: t.name, parameters: t.parameters, strict: true }));
  const history = [];
  let last;
  for (const user of request.users) {
    let fresh = [{ role: 'user', content: user }];
    while (fresh.length > 0) {
      history.push(...fresh);
      const args = { model: request.model, input: history, ...(tools && { tools }), ...request.options };
      if (request.previous && last) {
        args.input = fresh;
        args.previous_response_id = last.id;
      }
      const events = [];
      if (request.mode === 'plain') {
        last = await client.responses.create(args);
      } else {
        const stream = client.responses.stream(args);
        for await (const event of stream) events.push(event.type);
        last = await stream.finalResponse();
      }
      yield answer(last.output_text ?? said(last), last, events);
      history.push(...last.output);
      fresh = last.output
        .filter((item) => item.type === 'function_call')
        .map((item) => ({ type: 'function_call_output', call_id: item.call_id, output: result(request, item.name) }));
    }
  }
}

// What the model said, where the SDK has no accessor for it: openai-node 5, for streams.
function said(response) {
  const parts = response.output.flatMap((item) => (item.type === 'message' ? item.content : []));
  return parts.map((part) => part.text ?? '').join('');
}

async function* chat(client, request) {
  const tools = request.tools?.map((t) => ({
    type: 'function',
    function: { name: t.name, description: t.name, parameters: t.parameters, strict: true },
  }));
  const messages = [];
  for (const user of request.users) {
    let fresh = [{ role: 'user', content: user }];
    while (fresh.length > 0) {
      messages.push(...fresh);
      const args = { model: request.model, messages, ...(tools && { tools }), ...request.options };
      const events = [];
      let completion;
      if (request.mode === 'plain') {
        completion = await client.chat.completions.create(args);
      } else {
        const stream = client.chat.completions.stream({ ...args, stream_options: { include_usage: true } });
        for await (const chunk of stream) events.push(chunk.object);
        completion = await stream.finalChatCompletion();
      }
      const { message } = completion.choices[0];
      yield answer(message.content, completion, events);
      messages.push(message);
      fresh = (message.tool_calls ?? []).map((call) => ({
        role: 'tool',
        tool_call_id: call.id,
        content: result(request, call.function.name),
      }));
    }
  }
}

serve((request) => {
  const client = new OpenAI({ baseURL: request.base_url, apiKey: request.key, maxRetries: 0 });
  return { responses, chat }[request.api](client, request);
});
