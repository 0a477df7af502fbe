// Conversations by an agent of @openai/agents: its runner calls the client's functions itself.
import { answer, load, serve } from './conversation.mjs';

const { OpenAI } = load('openai');
const { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, run, setTracingDisabled, tool } = load('@openai/agents');

setTracingDisabled(true); // traces would go to OpenAI

serve(async function* converse(request) {
  const client = new OpenAI({ baseURL: request.base_url, apiKey: request.key, maxRetries: 0 });
  const Model = { responses: OpenAIResponsesModel, chat: OpenAIChatCompletionsModel }[request.api];
  const agent = new Agent({
    name: 'tester',
    model: new Model(client, request.model),
    modelSettings: { providerData: request.options },
    tools: (request.tools ?? []).map((t) =>
      tool({ name: t.name, description: t.name, parameters: t.parameters, strict: true, execute: async () => t.result }),
    ),
  });
  let items = [];
  for (const user of request.users) {
    items.push({ role: 'user', content: user });
    const events = [];
    let result;
    if (request.mode === 'plain') {
      result = await run(agent, items);
    } else {
      result = await run(agent, items, { stream: true });
      for await (const event of result) events.push(event.type === 'raw_model_stream_event' ? event.data.type : event.type);
      await result.completed;
    }
    items = result.history;
    yield answer(result.finalOutput, { items, usage: result.rawResponses.map((r) => r.usage) }, events);
  }
});
