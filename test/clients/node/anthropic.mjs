// Conversations by @anthropic-ai/sdk, with its MessageStream.
import { answer, load, result, serve } from './conversation.mjs';

const { Anthropic } = load('@anthropic-ai/sdk');

serve(async function* converse(request) {
  const client = new Anthropic({ baseURL: request.base_url, apiKey: request.key, maxRetries: 0 });
  const tools = request.tools?.map((t) => ({ name: t.name, description: t.name, input_schema: t.parameters }));
  const messages = [];
  for (const user of request.users) {
    let fresh = user;
    while (fresh.length > 0) {
      messages.push({ role: 'user', content: fresh });
      const args = { model: request.model, max_tokens: 1024, messages, ...(tools && { tools }), ...request.options };
      const events = [];
      let message;
      if (request.mode === 'plain') {
        message = await client.messages.create(args);
      } else {
        const stream = client.messages.stream(args);
        for await (const event of stream) events.push(event.type);
        message = await stream.finalMessage();
      }
      const text = message.content.filter((block) => block.type === 'text').map((block) => block.text);
      yield answer(text.join(''), message, events);
      messages.push({ role: 'assistant', content: message.content });
      fresh = message.content
        .filter((block) => block.type === 'tool_use')
        .map((block) => ({ type: 'tool_result', tool_use_id: block.id, content: result(request, block.name) }));
    }
  }
});
