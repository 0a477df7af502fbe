package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"github.com/keyturn/keyturn/internal/dialect"
)

// ErrNoRoom is what Response.Emit returns when no more may be sent after what it was handed. The response then ends with an error,
// which has room.
var ErrNoRoom = errors.New("no room for more of the response")

// Errors of a later turn that no provider made, as the client reads them.
var (
	tooLarge = dialect.Error{
		Type: "invalid_request_error", Code: "request_too_large",
		Message: "the conversation with the results of the tools outgrew the largest request that this gateway sends; ask for less at a time",
	}
	brokeOff       = dialect.Error{Type: "api_error", Code: "server_error", Message: "the provider's answer broke off; try again"}
	noRoom         = dialect.Error{Type: "api_error", Code: "response_too_large", Message: "the later turns of this response are more than this gateway sends on in one response; ask for less at a time"}
	answerTooLarge = dialect.Error{Type: "api_error", Code: "server_error", Message: "the provider's answer is larger than this gateway reads"}
)

// unreachable logs why a turn's request could not be sent, or had no answer, and tells the client that it is so.
func (a *Agent) unreachable(ctx context.Context, err error) dialect.Error {
	reason := "the connection broke before the answer's head was complete"
	if op := (*net.OpError)(nil); errors.As(err, &op) { // what others say may repeat bytes of the answer
		reason = op.Error()
	}
	a.log.LogAttrs(ctx, slog.LevelWarn, "Envoy's loopback listener does not answer", slog.String("reason", reason))
	return dialect.Error{
		Type: "api_error", Code: "server_error",
		Message: "the next turn could not be sent: Envoy's loopback listener does not answer; the operator finds the reason in Keyturn's log",
	}
}
