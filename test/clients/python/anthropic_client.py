"""Conversations by anthropic-sdk-python, with the accumulator of its streams."""

import functools

import anthropic

from conversation import answer, serve


@functools.cache  # making one takes longer than most conversations
def client_for(base_url, key):
    return anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0)


def converse(request):
    client = client_for(request["base_url"], request["key"])
    tools = [{"name": t["name"], "description": t["name"], "input_schema": t["parameters"]} for t in request.get("tools", [])]
    messages = []
    for user in request["users"]:
        fresh = user
        while fresh:
            messages.append({"role": "user", "content": fresh})
            args = {"model": request["model"], "max_tokens": 1024, "messages": messages, **request.get("options", {})}
            if tools:
                args["tools"] = tools
            message, events = ask(client, request["mode"], args)
            text = "".join(block.text for block in message.content if block.type == "text")
            yield answer(text, message.to_dict(mode="json"), events)
            messages.append({"role": "assistant", "content": message.content})
            fresh = [
                {"type": "tool_result", "tool_use_id": block.id, "content": result(request, block.name)}
                for block in message.content
                if block.type == "tool_use"
            ]


def ask(client, mode, args):
    if mode == "plain":
        return client.messages.create(**args), []
    with client.messages.stream(**args) as stream:
        events = [event.type for event in stream]
        return stream.get_final_message(), events


def result(request, name):
    return next(t["result"] for t in request["tools"] if t["name"] == name)


serve(converse)
