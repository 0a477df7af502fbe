"""What the client programs share: conversations come in as lines of JSON (sdks.Request), what came of each goes out as a line of
JSON (sdks.Reply). What an SDK prints goes to the standard error, where the tests take it for a complaint."""

import json
import sys
import traceback


def serve(converse):
    """converse(request) yields the answers of a conversation, one for each request that was sent."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        reply = {"answers": [], "error": None}
        try:
            for answer in converse(json.loads(line)):
                reply["answers"].append(answer)
        except Exception as e:
            reply["error"] = described(e)
        out.write(json.dumps(reply) + "\n")
        out.flush()


def described(e):
    """An exception as sdks.Error; the body is the error that the answer carried, with or without the envelope around it."""
    body = getattr(e, "body", None)
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    if not isinstance(body, dict):
        body = {}
    return {
        "class": type(e).__name__,
        "status": getattr(e, "status_code", 0),
        "type": body.get("type") or "",
        "code": body.get("code") or "",
        "message": body.get("message") or str(e),
        "trace": "".join(traceback.format_exception(e)),
    }


def answer(text, obj, events):
    return {"text": text or "", "object": obj, "events": events}
