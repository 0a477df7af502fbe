"""Conversations by openai-python, with the accumulators of its streams."""

import functools
import warnings

import openai

from conversation import answer, serve


def responses(client, request):
    tools = [
        {"type": "function", "name": t["name"], "description": t["name"], "parameters": t["parameters"], "strict": True}
        for t in request.get("tools", [])
    ]
    history, last = [], None
    for user in request["users"]:
        fresh = [{"role": "user", "content": user}]
        while fresh:
            history += fresh
            args = {"model": request["model"], "input": history, **request.get("options", {})}
            if tools:
                args["tools"] = tools
            if request.get("previous") and last:
                args["input"], args["previous_response_id"] = fresh, last.id
            last, events = ask_responses(client, request["mode"], args)
            yield answer(last.output_text, last.to_dict(mode="json"), events)
            history += last.output
            fresh = [
                {"type": "function_call_output", "call_id": item.call_id, "output": result(request, item.name)}
                for item in last.output
                if item.type == "function_call"
            ]


def ask_responses(client, mode, args):
    if mode == "plain":
        return client.responses.create(**args), []
    with client.responses.stream(**args) as stream:
        events = [event.type for event in stream]
        return stream.get_final_response(), events


def chat(client, request):
    tools = [
        {"type": "function", "function": {"name": t["name"], "description": t["name"], "parameters": t["parameters"], "strict": True}}
        for t in request.get("tools", [])
    ]
    messages = []
    for user in request["users"]:
        fresh = [{"role": "user", "content": user}]
        while fresh:
            messages += fresh
            args = {"model": request["model"], "messages": messages, **request.get("options", {})}
            if tools:
                args["tools"] = tools
            completion, events = ask_chat(client, request["mode"], args)
            message = completion.choices[0].message
            yield answer(message.content, completion.to_dict(mode="json"), events)
            messages.append(message)
            fresh = [
                {"role": "tool", "tool_call_id": call.id, "content": result(request, call.function.name)}
                for call in message.tool_calls or []
            ]


def ask_chat(client, mode, args):
    if mode == "plain":
        return client.chat.completions.create(**args), []
    with client.chat.completions.stream(**args, stream_options={"include_usage": True}) as stream:
        events = [event.type for event in stream]
        try:
            return stream.get_final_completion(), events
        except openai.LengthFinishReasonError as e:  # raised for every answer that was cut short, with the answer
            return e.completion, events


def result(request, name):
    return next(t["result"] for t in request["tools"] if t["name"] == name)


@functools.cache  # making one takes longer than most conversations
def client_for(base_url, key):
    return openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)


def converse(request):
    return {"responses": responses, "chat": chat}[request["api"]](client_for(request["base_url"], request["key"]), request)


if int(openai.__version__.partition(".")[0]) < 3:  # it knows the error of an mcp_call as a string only
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
serve(converse)
