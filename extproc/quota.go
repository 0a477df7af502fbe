package extproc

import (
	"context"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/keyturn/keyturn/internal/dialect"
	"github.com/keyturn/keyturn/internal/quota"
	"github.com/keyturn/keyturn/internal/wire"
)

// DefaultClient is the name in Limits whose entry holds for each client without one of its own. Those whom nobody has asked who they are share
// one account.
const DefaultClient = quota.Default

// ClientLimits are what one client may use. Zero fields bound nothing.
type ClientLimits struct {
	// Pools are those that it may use.
	Pools []string
	// Models are patterns of the models that it may use; * stands for any text. Where one is set the client's requests are read whole.
	Models []string
	// RequestsPerMinute bounds the requests that begin within any 60 seconds.
	RequestsPerMinute int64
	// TokensPerMinute bounds the tokens, read and written, of the answers that end within any 60 seconds, and of those under way.
	TokensPerMinute int64
	// TokensPerDay bounds those of a day in UTC.
	TokensPerDay int64
	// SpendPerMonth bounds what a month in UTC costs, in billionths of a US dollar.
	SpendPerMonth int64
	// Parallel bounds the requests at the same time.
	Parallel int
}

// Limits are what clients may use, by their names as Envoy's authentication says them, and by DefaultClient.
type Limits map[string]ClientLimits

func (l Limits) settings() quota.Settings {
	s := make(quota.Settings, len(l))
	for name, of := range l {
		s[name] = quota.Limits(of)
	}
	return s
}

// Validate returns what is wrong with the limits, every fault by the path of its field.
func (l Limits) Validate() error { return l.settings().Validate() }

// Counts reports whether the limits need to know what requests have used: the tokens and prices of their records.
func (l ClientLimits) Counts() bool { return l.TokensPerMinute+l.TokensPerDay+l.SpendPerMonth > 0 }

// SetLimits replaces the limits of clients. What they have used stays.
func (s *Server) SetLimits(l Limits) { s.book.Set(l.settings()) }

// Spent is what a request has used, with all of its attempts and turns.
type Spent struct {
	ID, Client    string // the request's, by its front, and the name of its client
	Input, Output int64  // tokens
	Nano          int64  // billionths of a US dollar
}

// Spend counts what a request has used, once its record is made.
func (s *Server) Spend(spent Spent) { s.book.Spend(quota.Spent(spent)) }

// Used is what clients had used at a time.
type Used struct {
	At     time.Time
	Tokens map[string]int64 // in that day of UTC, by their names
	Nano   map[string]int64 // in that month of UTC: billionths of a US dollar
}

// Restore counts what is known of the day and the month, where it is more than the server has counted itself.
func (s *Server) Restore(u Used) { s.book.Restore(quota.Used(u)) }

// Standing is what a client has of its limits at this moment.
type Standing struct {
	Client    string // "" of those that nobody has asked who they are
	Limits    ClientLimits
	Own       bool  // it has an entry of its own
	Parallel  int   // requests at the same time, as far as they are counted
	Requests  int64 // that began within the last minute
	Tokens    int64 // of the answers that ended within the last minute
	Reserved  int64 // tokens of the requests whose records have not come
	DayTokens int64 // of this day in UTC
	MonthNano int64 // of this month in UTC: billionths of a US dollar
}

// Standings are those of the clients that have limits, by name: all with an entry of their own, and of the others the 1,000 that came last.
func (s *Server) Standings() []Standing {
	var all []Standing
	for _, st := range s.book.Standings() {
		all = append(all, Standing{
			Client: st.Client, Limits: ClientLimits(st.Limits), Own: st.Own, Parallel: st.InFlight, Requests: st.Requests, Tokens: st.Tokens, Reserved: st.Reserved,
			DayTokens: st.Day, MonthNano: st.Month,
		})
	}
	return all
}

// limited is what an attempt knows of the limits of its client.
type limited struct {
	book   *quota.Book
	client string
	id     string   // under which the book holds the request; "": it does not
	whole  bool     // its place among those at the same time is kept until the response has come to its end
	models []string // that it may be for; nil: any
	read   bool     // the model stands in the body, which Envoy was asked for
	coded  coded    // that body, where no tools go into it
	watch  bool     // the attempt is over, and its response is not
	unsent bool     // nothing of it has gone to a provider
}

// letIn reports whether the client's limits let the request in; else it answers the client. A later turn is part of a response that has begun.
func (x *exchange) letIn(m *message) bool {
	l := &x.limited
	if x.laterTurn || l.book == nil || !l.book.On() {
		return true
	}
	l.client = string(clipped(x.front.client))
	grant, refusal := l.book.Begin(quota.Request{ID: string(x.id), Client: l.client, Pool: x.pool.name, Body: x.length, Again: x.attempt > 1})
	if refusal != nil {
		x.overLimit(refusal)
		return false
	}
	if grant.Held {
		l.id, l.whole = string(x.id), grant.Whole
	}
	l.models = grant.Models
	switch {
	case l.models == nil:
	case x.model != "":
		return x.mayUse(x.model)
	case m.end && m.header("upgrade") == nil:
	case m.end || m.header("upgrade") != nil:
		x.refuseModel("it asks for a connection on which models are named later")
		return false
	case x.length > x.pool.maxBody:
		x.tooLargeToRead()
		return false
	default:
		l.read = true
		l.coded = coded{header: m.joined("content-encoding")}
	}
	return true
}

// mayUse reports whether the client may use a model; else it answers the client.
func (x *exchange) mayUse(model string) bool {
	if matchesAny(x.limited.models, model) {
		return true
	}
	x.limited.book.Refuse(quota.Models)
	x.forbid("model_not_allowed", "The limits of "+x.clientName()+" (models) do not let it use the model "+wire.Clip(model, maxNoted)+".")
	return false
}

// refuseModel answers a request of a client that may use some models only, which does not say its model.
func (x *exchange) refuseModel(why string) {
	x.limited.book.Refuse(quota.Models)
	x.forbid("model_not_allowed", "The limits of "+x.clientName()+" (models) let it use some models only, and of this request the gateway cannot tell the model: "+why+".")
}

func (x *exchange) tooLargeToRead() {
	x.limited.book.Refuse(quota.Models)
	x.limited.unsent = true
	x.reject(413, "request_too_large", "invalid_request_error",
		"The limits of "+x.clientName()+" name models, so its requests are read, and this one is larger than the "+strconv.FormatInt(x.pool.maxBody, 10)+" bytes that are (max_body).")
}

func (x *exchange) forbid(code, message string) {
	x.limited.unsent = true
	x.mut.reset()
	x.reject(403, code, "permission_error", message)
}

// clientName is the client as errors call it.
func (x *exchange) clientName() string {
	if x.limited.client == "" {
		return "clients without a name"
	}
	return "the client " + strconv.Quote(strings.ToValidUTF8(x.limited.client, "\uFFFD"))
}

// longWait is the longest that SDKs wait by themselves for what they were told.
const longWait = time.Minute

// overLimit answers a client that has reached one of its limits.
func (x *exchange) overLimit(r *quota.Refusal) {
	if r.Limit == quota.Pools {
		x.forbid("pool_not_allowed", "The limits of "+x.clientName()+" (pools) do not let it use the pool "+x.pool.name+".")
		return
	}
	x.outcome, x.limited.unsent = surfaced, true
	x.describe()
	wait := max(r.Retry, time.Second)
	x.mut.set(wire.RetryAfterHeader, "", seconds(wait.Seconds()))
	if wait > longWait {
		x.mut.set(wire.ShouldRetryHeader, "", "false")
	}
	x.tellLimits()
	most := strconv.FormatInt(r.Most, 10)
	if r.Limit == quota.SpendPerMonth {
		most = "$" + strings.TrimSuffix(strconv.FormatFloat(float64(r.Most)/quota.Dollar, 'f', 2, 64), ".00")
	}
	x.instead(429, "client_limit_exceeded", dialect.Error{
		Type: "rate_limit_error", Code: "client_limit_exceeded",
		Message: "The limit of " + x.clientName() + " at this gateway is reached (" + r.Limit.String() + ": " + most + "). Try again in " + wait.Round(time.Second).String() + ".",
	})
}

// tellLimits says in headers what the client has left of its own limits, where it is to know.
func (x *exchange) tellLimits() {
	if !x.pools.tellLimits || x.laterTurn || x.limited.book == nil {
		return
	}
	s, ok := x.limited.book.Standing(x.limited.client)
	if !ok {
		return
	}
	tell := func(of string, most, used int64) {
		if most > 0 {
			x.mut.set("x-ratelimit-limit-"+of, "", strconv.FormatInt(most, 10))
			x.mut.set("x-ratelimit-remaining-"+of, "", strconv.FormatInt(max(most-used, 0), 10))
			x.mut.set("x-ratelimit-reset-"+of, "", seconds(s.ResetsIn.Seconds())+"s")
		}
	}
	tell("requests", s.Limits.RequestsPerMinute, s.Requests)
	tell("tokens", s.Limits.TokensPerMinute, s.Tokens+s.Reserved)
}

// allowed judges the model of a request that is read for it. m is its body. It returns false where it has answered the client.
func (x *exchange) allowed(m *message) bool {
	c := x.codedBody()
	switch {
	case x.full:
		x.limited.unsent = true
		x.busy()
		return false
	case int64(len(m.body)) > x.pool.maxBody:
		x.tooLargeToRead()
		return false
	case c.err != nil:
		x.refuseModel("its content-encoding cannot be taken off")
		return false
	}
	body := c.of(m.body)
	model, _, ok := dialect.Asks(body)
	if !ok {
		x.refuseModel("its body is no JSON object in which model stands just once")
		return false
	}
	if !x.mayUse(model) {
		return false
	}
	x.limited.read = false
	x.expect(body)
	if x.model == "" && x.tools == nil && x.body == nil { // else it is read once more
		x.model, x.wanted = model, model
		x.describeModel()
		x.joins(body)
		x.rekey()
	}
	return !x.done
}

// expect notes how many tokens a request lets the model write.
func (x *exchange) expect(body []byte) {
	if x.limited.id == "" {
		return
	}
	if _, output, _ := dialect.Asks(body); output > 0 {
		x.limited.book.Expect(x.limited.id, output)
	}
}

// over tells the book that the attempt is over. It returns what is left to do when the response is, too; nil: nothing.
func (l *limited) over(o outcome) (ended func()) {
	switch book, id := l.book, l.id; {
	case id == "" || o == turned: // turned was told before the next attempt could come
		return nil
	case l.watch:
		return func() { book.End(id, false) }
	default:
		book.End(id, l.unsent)
		return nil
	}
}

// measure counts the requests that limits of clients have kept out, by the limit.
func (s *Server) measure(provider metric.MeterProvider) error {
	meter := provider.Meter("github.com/keyturn/keyturn/extproc")
	refusals, err := meter.Int64ObservableCounter("keyturn.client_limit_refusals", metric.WithDescription("Requests that a limit of their client has kept out, by the limit as clients name it in the configuration."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		if s.book.On() {
			for _, l := range quota.All() {
				o.ObserveInt64(refusals, s.book.Refused(l), metric.WithAttributes(attribute.String("limit", l.String())))
			}
		}
		return nil
	}, refusals)
	return err
}
