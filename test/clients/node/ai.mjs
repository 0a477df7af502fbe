// Conversations by Vercel's ai, which calls the client's functions itself.
import { answer, load, serve } from './conversation.mjs';

const { generateText, jsonSchema, stepCountIs, isStepCount, streamText, tool } = load('ai');
const { createAnthropic } = load('@ai-sdk/anthropic');
const { createOpenAI } = load('@ai-sdk/openai');

// What ai warns of is a complaint, but for what it leaves out when nothing is stored: the tests know of it (sdkClient.drops).
globalThis.AI_SDK_LOG_WARNINGS = (said) => {
  for (const warning of said.warnings ?? said) {
    if (!/^Results for OpenAI tool mcp\./.test(warning.message)) console.error(warning);
  }
};

function model(request) {
  const settings = { baseURL: request.base_url, apiKey: request.key };
  switch (request.api) {
    case 'responses':
      return createOpenAI(settings).responses(request.model);
    case 'chat':
      return createOpenAI(settings).chat(request.model);
    default:
      return createAnthropic({ ...settings, baseURL: `${request.base_url}/v1` })(request.model);
  }
}

// The members of a request in the words of ai.
function settings({ api, options = {} }) {
  const { store, reasoning, thinking, max_tokens: maxOutputTokens } = options;
  const openai = { store, reasoningEffort: reasoning?.effort, reasoningSummary: reasoning?.summary };
  const anthropic = thinking && { thinking: { type: thinking.type, budgetTokens: thinking.budget_tokens } };
  return { maxOutputTokens, providerOptions: api === 'messages' ? { anthropic } : { openai } };
}

serve(async function* converse(request) {
  const tools = {};
  for (const t of request.tools ?? []) {
    tools[t.name] = tool({ description: t.name, inputSchema: jsonSchema(t.parameters), execute: async () => t.result });
  }
  const messages = [];
  for (const user of request.users) {
    messages.push({ role: 'user', content: user });
    const args = { model: model(request), messages, tools, stopWhen: (isStepCount ?? stepCountIs)(5), maxRetries: 0, ...settings(request) };
    const events = [];
    let result;
    if (request.mode === 'plain') {
      result = await generateText(args);
    } else {
      result = streamText({ ...args, onError() {} });
      for await (const part of result.fullStream) {
        events.push(part.type);
        if (part.type === 'error') throw part.error;
      }
    }
    const steps = (await result.steps).map((step) => ({ content: step.content, finishReason: step.finishReason, usage: step.usage }));
    const made = (await result.responseMessages) ?? (await result.response).messages; // ai 7: those of all steps; ai 5 has them in the other
    yield answer(await result.text, { steps, messages: made, usage: await result.totalUsage }, events);
    messages.push(...made);
  }
});
