"""Conversations by an agent of openai-agents: its runner calls the client's functions itself."""

import asyncio
import functools
import logging

import openai
import pydantic_core
from agents import Agent, FunctionTool, ModelSettings, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, set_tracing_disabled

from conversation import answer, serve

MODELS = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}


def function(t):
    async def invoke(_context, _arguments):
        return t["result"]

    return FunctionTool(name=t["name"], description=t["name"], params_json_schema=t["parameters"], on_invoke_tool=invoke)


@functools.cache  # making one takes longer than most conversations
def client_for(base_url, key):
    return openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0)


async def run(request):
    client = client_for(request["base_url"], request["key"])
    agent = Agent(
        name="tester",
        model=MODELS[request["api"]](model=request["model"], openai_client=client),
        model_settings=ModelSettings(include_usage=True, extra_args=request.get("options")),
        tools=[function(t) for t in request.get("tools", [])],
    )
    items = []
    for user in request["users"]:
        items.append({"role": "user", "content": user})
        events = []
        if request["mode"] == "plain":
            result = await Runner.run(agent, items)
        else:
            result = Runner.run_streamed(agent, items)
            async for event in result.stream_events():
                events.append(event.data.type if event.type == "raw_response_event" else event.type)
        items = result.to_input_list()
        obj = {"items": items, "usage": [pydantic_core.to_jsonable_python(r.usage) for r in result.raw_responses]}
        yield answer(result.final_output, obj, events)


def converse(request):
    generator = run(request)
    try:
        while True:
            yield loop.run_until_complete(anext(generator))
    except StopAsyncIteration:
        pass


set_tracing_disabled(True)  # traces would go to OpenAI
logging.getLogger("openai.agents").setLevel(logging.CRITICAL)  # errors are raised too
loop = asyncio.new_event_loop()
serve(converse)
