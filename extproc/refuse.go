package extproc

import (
	"strconv"
	"time"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/keypool"
)

// refuse answers the client in the provider's place: no key is left that could be tried.
func (x *exchange) refuse() {
	x.done = true
	x.outcome = exhausted
	status, e := exhaustionError(x.exhaustion)
	x.mut.reset()
	x.mut.set("content-type", "", "application/json")
	x.mut.set(errorHeader, "", x.exhaustion.Kind.String())
	if status == 429 {
		if wait := x.exhaustion.RetryAfter; wait > 0 {
			x.mut.set("retry-after", "", seconds(wait.Seconds()))
			x.mut.set("retry-after-ms", "", strconv.FormatInt(int64((wait+time.Millisecond-1)/time.Millisecond), 10))
		}
	} else {
		x.mut.set("x-should-retry", "", "false") // the SDKs would try twice more
	}
	d := x.dialect
	if d == dialect.None {
		d = x.pool.dialect
	}
	x.dyn.reset()
	x.dyn.text("pool", x.pool.name)
	x.dyn.text("exhausted", x.exhaustion.Kind.String())
	x.out.immediate(status, &x.mut, d.Body(e), "keyturn_"+x.exhaustion.Kind.String(), &x.dyn)
}

// exhaustionError is what a client reads when the whole pool fails it: 429 while waiting helps, 404 when it is about the model,
// else 502.
func exhaustionError(e *keypool.Error) (status int, body dialect.Error) {
	switch e.Kind {
	case keypool.RateLimited:
		return 429, dialect.Error{Type: "rate_limit_error", Code: "rate_limit_exceeded", Message: e.Error()}
	case keypool.ModelUnavailable:
		return 404, dialect.Error{Type: "not_found_error", Code: "model_not_found", Message: e.Error()}
	case keypool.AuthFailed, keypool.AllDisabled, keypool.KindUnknown:
	}
	return 502, dialect.Error{Type: "api_error", Code: "server_error", Message: e.Error()}
}
